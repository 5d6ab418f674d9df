"""Uses a client that was generated from the service's OpenAPI document.

Arguments: the folder that holds the generated package `client`, and the service's address. Fails if an answer does not
come as the type that the document says.
"""

import sys

sys.path.insert(0, sys.argv[1])

from client import Client
from client.api.camera_service import create_camera, get_lines, list_cameras, replace_camera
from client.api.counting_service import list_counting_results
from client.models import CameraCreate, CountingPage, OneOfCamera, PageOfCamera, Problem, ShapesOfLine

with Client(base_url=sys.argv[2], raise_on_unexpected_status=True) as client:
    door = {
        "camera_id": "door",
        "camera_name": "Cửa chính",
        "camera_type": "RTSP",
        "stream_url": "rtsp://192.0.2.7/main",
        "lines": [{"name": "gate", "from": {"x": 0.1, "y": 0.5}, "to": {"x": 0.9, "y": 0.5}}],
    }
    made = create_camera.sync(client=client, body=CameraCreate.from_dict(door))
    assert isinstance(made, OneOfCamera), made
    assert made.data.camera_name == "Cửa chính" and made.data.version == 1

    cameras = list_cameras.sync(client=client, limit=10)
    assert isinstance(cameras, PageOfCamera), cameras
    assert [camera.camera_id for camera in cameras.data] == ["door"]

    lines = get_lines.sync("door", client=client)
    assert isinstance(lines, ShapesOfLine), lines
    assert lines.data[0].name == "gate" and lines.data[0].from_.y == 0.5

    counts = list_counting_results.sync("door", client=client)
    assert isinstance(counts, CountingPage), counts
    assert counts.data == [] and counts.totals.in_count is None, counts

    unknown = list_counting_results.sync("yard", client=client)
    assert isinstance(unknown, Problem) and unknown.code == "CAMERA_NOT_FOUND", unknown

    # What was read is said with what is written; who read something older is told so.
    door["camera_name"] = "Front door"
    body = CameraCreate.from_dict(door)
    stale = replace_camera.sync("door", client=client, body=body, if_match='"7"')
    assert isinstance(stale, Problem) and stale.status == 412, stale
    changed = replace_camera.sync("door", client=client, body=body, if_match='"1"')
    assert isinstance(changed, OneOfCamera) and changed.data.version == 2, changed
