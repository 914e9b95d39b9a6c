"""Makes a dataset of the CSV files below a prefix, with Hugging Face datasets, and saves it in S3."""

from datasets import load_dataset

import pos3


def main(source: str, destination: str) -> None:
    with pos3.mirror():
        rows = load_dataset("csv", data_dir=str(pos3.download(source)), split="train")
        short = rows.filter(lambda row: len(row["text"]) < 20)
        # To read it: datasets.load_from_disk(pos3.download(destination)). Objects of an earlier dataset stay in S3.
        short.save_to_disk(str(pos3.upload(destination, interval=None, delete=False)))


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
