"""A day with a GPU: what is measured when a machine with one can be had for a quarter of an hour.

    python -m benchmarks.gpu_day prepare --data VISA --product macaroni1 --out payload
    python -m benchmarks.gpu_day run reference half speed --payload payload --out found
    python -m benchmarks.gpu_day collect found

Everything is made and rehearsed on a machine without a GPU. On the machine with one nothing is
downloaded; each part leaves what it has measured so far, whatever happens to the next one.
"""
