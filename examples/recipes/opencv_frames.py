"""Saves every tenth frame of a video as a picture, with OpenCV. Both are in S3."""

import itertools

import cv2

import pos3


def main(video: str, pictures: str) -> None:
    with pos3.mirror():
        film = cv2.VideoCapture(str(pos3.download(video)))  # OpenCV takes a path as text
        folder = pos3.upload(pictures, interval=30, delete=False)  # existing objects stay
        for number in itertools.count():
            found, frame = film.read()
            if not found:
                break
            if number % 10 == 0:
                cv2.imwrite(str(folder / f"{number:06}.png"), frame)


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
