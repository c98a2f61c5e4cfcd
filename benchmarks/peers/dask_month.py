"""Score all files of a folder with Dask.

python dask_month.py MODEL.joblib FLIGHTS TARGET threads|processes|cluster
"""

import os
import sys

import dask
import dask.dataframe as dd
import joblib

INPUTS = ["carrier", "origin", "dest", "hour", "distance", "dep_delay"]


def predict(rows, model):
    rows = rows.dropna(subset=["dep_delay"])
    rows["predicted_arr_delay"] = model.predict(rows[INPUTS])
    return rows[["id", "predicted_arr_delay", "dest"]]


def main():
    model_file, flights, target, scheduler = sys.argv[1:]
    model = joblib.load(model_file)
    rows = dd.read_parquet(f"{flights}/*.parquet", columns=["id", *INPUTS])
    predictions = rows.map_partitions(predict, model)
    cores = len(os.sched_getaffinity(0))
    if scheduler == "cluster":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
        ):
            predictions.to_parquet(target, compression="zstd", write_index=False)
    else:
        with dask.config.set(scheduler=scheduler, num_workers=cores):
            predictions.to_parquet(target, compression="zstd", write_index=False)


if __name__ == "__main__":
    main()
