"""Send the rows of a batch, and read and write its files.

`scheduler` sends many prompts concurrently; `dask` sends them from the workers of a cluster.
`input` reads prompts from JSONL, CSV and Parquet files, `results` is the file of their answers, and
`job` combines them for `pipy batch`. No row is sent twice: the results file is the job's state.
"""
