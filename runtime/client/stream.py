"""A stream of images over several connections: some requests are under way while others return."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore

from runtime.errors import BadImageError
from runtime.images.decode import ImageLike
from runtime.images.stream import overlapped
from runtime.inspections.inspection import Inspection, Inspector


def inspect_ahead(
    connections: Sequence[Inspector],
    images: Iterable[ImageLike],
    *,
    product: str | None,
    want_map: bool,
) -> Iterator[Inspection | BadImageError]:
    """Inspect a stream, with as many requests under way as there are connections.

    Args:
        connections: Each has one request under way at a time.
        images: The stream.
        product: Name of the product; may be left out where the server holds one.
        want_map: Whether the answers carry the full-resolution anomaly map.

    Yields:
        One answer an image, in order; in place of one that cannot be used, the error.
    """
    door, free = Semaphore(len(connections)), SimpleQueue[Inspector]()
    for connection in connections:
        free.put(connection)

    def ask(image: ImageLike) -> Inspection | BadImageError:
        connection = free.get()
        try:
            return connection.inspect(image, product=product, want_map=want_map)
        except BadImageError as error:
            return error
        finally:
            free.put(connection)

    with ThreadPoolExecutor(len(connections), thread_name_prefix="l2bt client") as pool:

        def send(image: ImageLike) -> "Future[Inspection | BadImageError]":
            # An image is not even taken from the stream's queue before a request may begin.
            door.acquire()
            future = pool.submit(ask, image)
            future.add_done_callback(lambda _: door.release())
            return future

        yield from overlapped(images, (send, Future.result), ahead=len(connections))
