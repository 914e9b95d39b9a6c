"""Reads a table from S3 with pandas and writes another one to S3, as CSV or Parquet."""

import pandas as pd

import pos3


def main(source: str, destination: str) -> None:
    with pos3.mirror():
        rides = pos3.download(source)  # the path of one file
        table = pd.read_parquet(rides) if rides.suffix == ".parquet" else pd.read_csv(rides)
        means = table.groupby("city", as_index=False)["minutes"].mean()
        result = pos3.upload(destination, interval=None)  # the path of one file; no other object is changed
        if result.suffix == ".parquet":
            means.to_parquet(result)
        else:
            means.to_csv(result, index=False)


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
