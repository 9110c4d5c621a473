"""Content types of attached files, by their names. Pure.

The table is fixed, because Python's `mimetypes` reads files of the operating system, so its answers differ between machines.
"""

from pathlib import PurePosixPath

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"
_BY_EXTENSION = {
    # text
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "ifb": "text/calendar",
    "log": "text/plain",
    "md": "text/markdown",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "vcard": "text/vcard",
    "vcf": "text/vcard",
    "xml": "application/xml",
    # documents
    "doc": "application/msword",
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "dotx": f"{_OFFICE}.wordprocessingml.template",
    "epub": "application/epub+zip",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "key": "application/vnd.apple.keynote",
    "numbers": "application/vnd.apple.numbers",
    "odp": f"{_OPEN_DOCUMENT}.presentation",
    "ods": f"{_OPEN_DOCUMENT}.spreadsheet",
    "odt": f"{_OPEN_DOCUMENT}.text",
    "p7m": "application/pkcs7-mime",
    "p7s": "application/pkcs7-signature",
    "pages": "application/vnd.apple.pages",
    "pdf": "application/pdf",
    "pkpass": "application/vnd.apple.pkpass",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": f"{_OFFICE}.presentationml.presentation",
    "ps": "application/postscript",
    "rtf": "application/rtf",
    "wasm": "application/wasm",
    "xls": "application/vnd.ms-excel",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "xltx": f"{_OFFICE}.spreadsheetml.template",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    # archives
    "7z": "application/x-7z-compressed",
    "bz2": "application/x-bzip2",
    "gz": "application/gzip",
    "jar": "application/java-archive",
    "rar": "application/vnd.rar",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
    # images
    "apng": "image/apng",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "ico": "image/vnd.microsoft.icon",
    "jpe": "image/jpeg",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "jxl": "image/jxl",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "webp": "image/webp",
    # audio, video and fonts
    "aac": "audio/aac",
    "avi": "video/x-msvideo",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "mkv": "video/matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "ttf": "font/ttf",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "woff": "font/woff",
    "woff2": "font/woff2",
}


def content_type_of(filename: str) -> str:
    """Return the content type that the end of a file name stands for, or `application/octet-stream` for an unknown end."""
    extension = PurePosixPath(filename.strip().replace("\\", "/")).suffix.removeprefix(".").lower()
    return _BY_EXTENSION.get(extension, DEFAULT_CONTENT_TYPE)
