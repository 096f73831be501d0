"""HTTP to a server of the plant's own: never through a proxy, whatever the environment says."""

import urllib.request
from http.client import HTTPResponse

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(request: urllib.request.Request | str, *, timeout_s: float) -> HTTPResponse:
    """Send a request to the host that it names.

    Raises:
        OSError: Nobody answers; `urllib.error.HTTPError` where the answer is an error.
    """
    answer: HTTPResponse = _OPENER.open(request, timeout=timeout_s)
    return answer
