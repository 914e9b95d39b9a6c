"""Trains a model. A second start goes on from the last checkpoint in S3, on any machine."""

import torch

import pos3


def main(url: str, epochs: int) -> None:
    model, first = torch.nn.Linear(2, 1), 0
    with pos3.mirror():
        folder = pos3.sync(url, interval=60, delete_remote=False, sync_on_error=True, exclude="*.tmp")
        saved, unfinished = folder / "last.pt", folder / "last.tmp"
        if saved.exists():
            first, weights = torch.load(saved)
            model.load_state_dict(weights)
        for epoch in range(first, epochs):
            print("epoch", epoch)  # your training step
            torch.save((epoch + 1, model.state_dict()), unfinished)
            unfinished.replace(saved)  # so no upload sends half a file


if __name__ == "__main__":
    import sys

    main(sys.argv[1], int(sys.argv[2]))
