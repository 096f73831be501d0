"""A GenICam camera's own process: Aravis on one side, pipes and shared memory on the other.

It is run by the system's Python, which has Aravis and nothing of this project, so it imports
nothing but the standard library. It is given one JSON object as its argument, reads commands
("trigger", "free SLOT") from its input stream until that ends, and writes one JSON object a line:
"ready" once the camera runs; "frame" with the slot of the shared memory that it lies in; "lost",
with "missing" where it is known by the numbers alone; and "away", its last, with the reason.
"""

import json
import mmap
import queue
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_POP_US = 100_000
# 16-bit frame numbers of GigE Vision go round without 0.
_LAST_SHORT_ID = 0xFFFF
_LONGEST_GAP = 1000
_SOCKET_BYTES = 4 << 20


def main() -> None:
    """Grab until the input stream ends or the camera is away."""
    wishes = json.loads(sys.argv[1])
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError) as error:
        _say(
            away=f"Aravis cannot be loaded by {sys.executable} ({error}); on Debian: "
            "apt install gir1.2-aravis-0.8 python3-gi"
        )
        return
    try:
        _grab(Aravis, wishes)
    except Exception as error:  # GLib's errors have no common base but this
        _say(away=getattr(error, "message", None) or f"{type(error).__name__}: {error}")


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _grab(aravis: Any, wishes: dict[str, Any]) -> None:
    camera = aravis.Camera.new(wishes["camera"])
    done = _set_up(camera, wishes)
    payload = camera.get_payload()
    slots = wishes["buffers"]
    with Path(wishes["memory"]).open("r+b") as file:
        file.truncate(slots * payload)
        memory = mmap.mmap(file.fileno(), slots * payload)
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(slots):
        free.put(slot)
    ended = threading.Event()
    lost_control = threading.Event()
    camera.get_device().connect("control-lost", lambda *_: lost_control.set())
    if camera.is_gv_device():
        _set_up_network(aravis, camera, wishes)
    stream = camera.create_stream(None, None)
    if stream is None:
        raise RuntimeError("the camera gives no stream; is another program using it?")
    if camera.is_gv_device():
        # A frame comes as one burst of packets, for which the kernel's usual buffer is too small.
        stream.set_property("socket-buffer", aravis.GvStreamSocketBuffer.FIXED)
        stream.set_property("socket-buffer-size", max(_SOCKET_BYTES, 4 * payload))
    for _ in range(slots):
        stream.push_buffer(aravis.Buffer.new_allocate(payload))
    camera.set_acquisition_mode(aravis.AcquisitionMode.CONTINUOUS)
    camera.start_acquisition()
    _say(
        ready={
            "vendor": camera.get_vendor_name(),
            "model": camera.get_model_name(),
            "payload": payload,
            "set": done,
        }
    )
    threading.Thread(target=_obey, args=(camera, free, ended), daemon=True).start()
    try:
        _pass_on(aravis, stream, memory, payload, free, ended, lost_control)
    finally:
        if not lost_control.is_set():
            camera.stop_acquisition()


def _set_up_network(aravis: Any, camera: Any, wishes: dict[str, Any]) -> None:
    if not wishes["packet_socket"]:
        camera.gv_set_stream_options(aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
    if wishes["packet_bytes"] is not None:
        camera.gv_set_packet_size_adjustment(aravis.GvPacketSizeAdjustment.NEVER)
        camera.gv_set_packet_size(wishes["packet_bytes"])


def _set_up(camera: Any, wishes: dict[str, Any]) -> dict[str, Any]:
    """Set what was wished for; what was set, for the record."""
    # What an earlier program left is undone first.
    camera.stop_acquisition()
    camera.set_pixel_format_from_string(wishes["pixels"])
    device = camera.get_device()
    done = {"PixelFormat": camera.get_pixel_format_as_string()}
    if done["PixelFormat"] != wishes["pixels"]:
        raise RuntimeError(f"the camera sends {done['PixelFormat']}, not {wishes['pixels']}")
    for name, value in wishes["features"].items():
        if isinstance(value, bool):
            device.set_boolean_feature_value(name, value)
        elif isinstance(value, int):
            device.set_integer_feature_value(name, value)
        elif isinstance(value, float):
            device.set_float_feature_value(name, value)
        else:
            device.set_string_feature_value(name, value)
        done[name] = value
    if wishes["exposure_us"] is not None:
        camera.set_exposure_time(wishes["exposure_us"])
        done["ExposureTime"] = camera.get_exposure_time()
    if wishes["gain"] is not None:
        camera.set_gain(wishes["gain"])
        done["Gain"] = camera.get_gain()
    if wishes["trigger_source"] is None:
        camera.clear_triggers()
        if wishes["frames_per_second"] is not None:
            camera.set_frame_rate(wishes["frames_per_second"])
            done["AcquisitionFrameRate"] = camera.get_frame_rate()
    else:
        camera.set_trigger(wishes["trigger_source"])
        done["TriggerSource"] = camera.get_trigger_source()
    return done


def _obey(camera: Any, free: "queue.SimpleQueue[int]", ended: threading.Event) -> None:
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "trigger":
            try:
                camera.software_trigger()
            except Exception as error:
                _say(lost="", reason=f"the camera refuses its trigger: {error}")
        elif word == "free":
            free.put(int(rest))
    ended.set()


def _pass_on(
    aravis: Any,
    stream: Any,
    memory: mmap.mmap,
    payload: int,
    free: "queue.SimpleQueue[int]",
    ended: threading.Event,
    lost_control: threading.Event,
) -> None:
    before = None
    while not ended.is_set():
        if lost_control.is_set():
            _say(away="the camera does not answer any more")
            return
        buffer = stream.timeout_pop_buffer(_POP_US)
        if buffer is None:
            continue
        number = buffer.get_frame_id()
        for missing in _between(before, number):
            _say(lost=str(missing), reason="the camera's frame did not come", missing=True)
        before = number
        status = buffer.get_status()
        if status != aravis.BufferStatus.SUCCESS:
            name = getattr(status, "value_nick", str(status))
            _say(lost=str(number), reason=f"the camera's frame is not whole ({name})")
        else:
            _hand_over(buffer, number, memory, payload, free)
        stream.push_buffer(buffer)


def _between(before: int | None, number: int) -> Iterable[int]:
    """Numbers of frames that are missing between two; none where the camera began anew."""
    if before is None:
        return []
    if number > before:
        return range(before + 1, number) if number - before <= _LONGEST_GAP else []
    if _LAST_SHORT_ID - _LONGEST_GAP < before <= _LAST_SHORT_ID and 0 < number <= _LONGEST_GAP:
        return [*range(before + 1, _LAST_SHORT_ID + 1), *range(1, number)]
    return []


def _hand_over(
    buffer: Any, number: int, memory: mmap.mmap, payload: int, free: "queue.SimpleQueue[int]"
) -> None:
    try:
        slot = free.get_nowait()
    except queue.Empty:
        _say(lost=str(number), reason="the station has not taken the frames before")
        return
    content = buffer.get_data()
    memory[slot * payload : slot * payload + len(content)] = content
    _say(
        frame=str(number),
        slot=slot,
        bytes=len(content),
        width=buffer.get_image_width(),
        height=buffer.get_image_height(),
        camera_time_ns=buffer.get_timestamp(),
        age_ns=max(0, time.time_ns() - buffer.get_system_timestamp()),
    )


if __name__ == "__main__":
    main()
