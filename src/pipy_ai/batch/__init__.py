"""Files of questions, files of answers: what `pipy batch` does.

`rows` reads questions out of JSONL, CSV and Parquet, `answers` is the file that they land in,
`job` asks them. Nothing is asked twice: the file of answers is also the memory of the job.
"""
