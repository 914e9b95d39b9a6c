"""Trains on tensors in S3: each object is a file that torch.save has written."""

import torch
from torch.utils.data import DataLoader, Dataset

import pos3


class Samples(Dataset[torch.Tensor]):
    def __init__(self, url: str):
        self.files = sorted(pos3.download(url).rglob("*.pt"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.load(self.files[index])


def main(url: str) -> None:
    with pos3.mirror():
        for batch in DataLoader(Samples(url), batch_size=4, num_workers=2):
            print(batch.shape)  # your training step


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
