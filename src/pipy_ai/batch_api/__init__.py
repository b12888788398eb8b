"""Providers' batch APIs: requests at half price whose answers arrive within a day.

`verbs` has the functions for Python, `batch/api_job.py` is `pipy batch --batch-api`. Both write
request files (`requests`), have them answered (`jobs`) and read the answers (`results`). One module
for each vendor's API says how jobs are created, found, polled, cancelled and downloaded.
"""
