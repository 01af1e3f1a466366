"""Media of tasks: upload, creation, metadata."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from daemon.sandbox.call import Call, Reply
from daemon.sandbox.creation import begin
from daemon.sandbox.errors import Refused, bad_request
from daemon.sandbox.fields import Check, Missing, boolean, clean, integer, listed, record, text
from daemon.sandbox.forms import Form, parse_form
from daemon.sandbox.model import Data, Json, Task, Upload
from daemon.sandbox.progress import creation_of, request_id
from daemon.sandbox.resources.tasks import media_of, task_of
from daemon.sandbox.routes import route
from daemon.sandbox.unsupported import OTHER_SOURCES, unsupported

TUS = {"Tus-Resumable": "1.0.0"}
FILE_BYTES_MAX = 256 * 1024 * 1024
TASK_BYTES_MAX = 1024 * 1024 * 1024
PARAMETERS: Check = record(
    image_quality=(integer(lowest=0, highest=100), Missing),
    chunk_size=(integer(lowest=1), None),
    start_frame=(integer(lowest=0), 0),
    stop_frame=(integer(lowest=0), 0),
    frame_filter=(text(longest=256, blank=True), ""),
    use_zip_chunks=(boolean, False),
    use_cache=(boolean, False),
    sorting_method=(text(), "lexicographical"),
    upload_file_order=(listed(text()), list),
)
META: Check = record(deleted_frames=(listed(integer(lowest=0)), list))


@route("POST", "/api/tasks/{id}/data")
async def upload(call: Call) -> Reply:
    """Take media: in one request, or in a session of several."""
    task = task_of(call)
    if "tus-resumable" in call.headers:
        return _tus_begin(call, task)
    if task.data is not None and task.data.ready:
        raise bad_request("Adding more data is not supported")
    if "upload-start" in call.headers and "upload-finish" not in call.headers:
        _open(call, task)
        return Reply(202)
    form = _form(call)
    for name, content in form.files:
        _take(task, name, content)
    if "upload-multiple" in call.headers:
        return Reply(200)
    _refuse_other_sources(form)
    sent = clean(PARAMETERS, form.values)
    if "upload-finish" not in call.headers:
        _open(call, task)
    return await _finish(call, task, sent)


def _take(task: Task, name: str, content: bytes) -> None:
    """Keep a file for a task; raises Refused (413) where its media get too large."""
    task.upload.files[name] = content
    if sum(map(len, task.upload.files.values())) > TASK_BYTES_MAX:
        raise Refused(413, {"detail": "the sandbox keeps media in memory; these are too large"})


def _form(call: Call) -> Form:
    if "multipart/form-data" in call.headers.get("content-type", ""):
        return parse_form(call.headers["content-type"], call.raw)
    return Form(call.json, [])


def _refuse_other_sources(form: Form) -> None:
    for name in form.values:
        if re.match(r"(server_files|remote_files|cloud_storage_id|job_file_mapping)", name):
            raise unsupported(OTHER_SOURCES)


def _open(call: Call, task: Task) -> None:
    """Make the empty media row; the task's date moves."""
    if task.data is None:
        with call.saving(task):
            task.data = Data(call.state.next_id("data"))


async def _finish(call: Call, task: Task, sent: dict[str, Any]) -> Reply:
    data = task.data or Data(call.state.next_id("data"))
    task.data = data
    data.image_quality = sent["image_quality"]
    call.touch(task, counted=True)
    data.chunk_size = sent["chunk_size"]
    data.start_frame = sent["start_frame"]
    data.stop_frame = sent["stop_frame"]
    data.frame_filter = sent["frame_filter"].replace(" ", "")
    files, task.upload = task.upload.files, Upload()
    if order := sent["upload_file_order"]:
        files = {name: files[name] for name in order if name in files}
    zip_chunks, sorting = sent["use_zip_chunks"], sent["sorting_method"]
    answer = _accepted(data, files, sorting)
    await begin(call, task, files, sorting=sorting, zip_chunks=zip_chunks)
    return Reply(202, {"rq_id": request_id(task)} if call.is_new else answer)


def _accepted(data: Data, files: dict[str, bytes], sorting: str) -> Json:
    """Show what 2.15 says to an upload: the parameters, some as they were sent."""
    return {
        "chunk_size": data.chunk_size,
        "image_quality": data.image_quality,
        "start_frame": data.start_frame,
        "stop_frame": data.stop_frame,
        "frame_filter": data.frame_filter,
        "client_files": list(files),
        "server_files": [],
        "remote_files": [],
        "use_zip_chunks": False,
        "server_files_exclude": [],
        "use_cache": False,
        "copy_data": False,
        "storage_method": "file_system",
        "storage": "local",
        "sorting_method": sorting,
        "filename_pattern": None,
    }


def _tus_begin(call: Call, task: Task) -> Reply:
    """Open the upload of one file in parts (tus.io protocol 1.0.0)."""
    length = _length(call.headers.get("upload-length", ""))
    if length > FILE_BYTES_MAX:
        return Reply(413, headers=TUS)
    metadata = dict(
        pair.strip().partition(" ")[::2]
        for pair in call.headers.get("upload-metadata", "").split(",")
    )
    try:
        name = base64.b64decode(metadata.get("filename", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise bad_request({"detail": "Upload-Metadata is no base64"}) from exc
    if not name:
        return Reply(400, headers=TUS)
    if name in task.upload.files:
        return Reply(409, headers=TUS)
    upload_id = call.new_uuid()
    if call.is_new:
        upload_id = f"{call.user.id}_{upload_id}"
    task.upload.partial[upload_id] = (name, length, bytearray())
    location = f"{call.base}/api/tasks/{task.id}/data/{upload_id}"
    return Reply(201, headers=TUS | {"Location": location, "Upload-Filename": name})


def _length(told: str) -> int:
    """Read an upload's length; raises Refused (400)."""
    if not re.fullmatch(r"[0-9]{1,15}", told):
        raise bad_request({"detail": "Upload-Length is no number"})
    return int(told)


@route("HEAD", "/api/tasks/{id}/data/{uuid}")
async def tus_offset(call: Call) -> Reply:
    """Tell how much of a file arrived; a whole file is no upload any more."""
    found = task_of(call).upload.partial.get(call.ids[1])
    if found is None:
        return Reply(404, headers=TUS)
    _, length, content = found
    sizes = {"Upload-Offset": str(len(content)), "Upload-Length": str(length)}
    return Reply(200, headers=TUS | sizes)


@route("PATCH", "/api/tasks/{id}/data/{uuid}")
async def tus_append(call: Call) -> Reply:
    """Take the next part of a file."""
    task = task_of(call)
    found = task.upload.partial.get(call.ids[1])
    if found is None:
        return Reply(404, headers=TUS)
    name, length, content = found
    if call.headers.get("upload-offset") != str(len(content)):
        raise Refused(409, None)
    if len(content) + len(call.raw) > length:
        raise Refused(413, None)
    content += call.raw
    if len(content) == length:
        _take(task, name, bytes(content))
        del task.upload.partial[call.ids[1]]
    return Reply(204, headers=TUS | {"Upload-Offset": str(len(content)), "Upload-Filename": name})


@route("GET", "/api/tasks/{id}/status")
async def status(call: Call) -> Reply:
    """Tell how far the creation is; `Finished` also where nothing was begun."""
    state, message = creation_of(call, task_of(call))
    return Reply(body={"state": state, "message": message, "progress": 0.0})


def _meta(call: Call, data: Data) -> Json:
    jobs = call.state.jobs_of(call.state.tasks[call.id])
    chunks = max((job.chunks_updated for job in jobs), default=0)
    return call.views.data_meta(data, 0, data.size - 1, of_job=False, chunks_updated=chunks)


@route("GET", "/api/tasks/{id}/data/meta")
async def meta(call: Call) -> Reply:
    """Show the media of a task."""
    data = media_of(task_of(call))
    return Reply(body=_meta(call, data))


@route("PATCH", "/api/tasks/{id}/data/meta")
async def delete_frames(call: Call) -> Reply:
    """Delete frames of a task; no job's date moves."""
    data = media_of(task_of(call))
    wanted = clean(META, call.json)["deleted_frames"]
    if call.is_new:
        # 2.73 tells of it; 2.15 moves no date and tells nobody.
        call.touch(call.state.tasks[call.id])
    data.deleted_frames = {frame for frame in wanted if frame < data.size}
    return Reply(body=_meta(call, data))
