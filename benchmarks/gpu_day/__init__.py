"""A day with a GPU: what is measured when a machine with one can be had for a quarter of an hour.

    l2bt benchmark gpu-day prepare --data VISA --product macaroni1 --out payload
    python -m l2bt benchmark gpu-day run reference half engine --payload payload --out found
    l2bt benchmark gpu-day collect found

Everything is made and rehearsed on a machine without a GPU. On the machine with one nothing is
downloaded; each part leaves what it has measured so far, whatever happens to the next one.
"""
