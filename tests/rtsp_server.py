"""A real RTSP camera for tests: H.264 at rtsp://127.0.0.1:PORT/cam, a moving ball, one colour, or a video file to its end.

Run it with the Python that Debian's python3-gi belongs to, /usr/bin/python3. It prints "ready PORT" once it listens.
SIGKILL it for a camera that dies, SIGSTOP it for one that hangs.
"""

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402  gi wants the versions first

# a key picture each second, its parameters in front: a client that joins late sees a picture within that second
ENCODE = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! rtph264pay name=pay0 pt=96 config-interval=1"


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="0", help="0: any free one")
    parser.add_argument("--pattern", default="ball", help="of videotestsrc")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", default=15, type=int)
    parser.add_argument("--video", help="a video file instead; where it ends, so does the stream")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--digest", action="store_true", help="digest authentication instead of basic")
    options = parser.parse_args()

    Gst.init(None)
    width, height = options.size.split("x")
    if options.video:
        picture = f'filesrc location="{options.video}" ! decodebin ! videoconvert ! clocksync'
    else:
        caps = f"video/x-raw,width={width},height={height},framerate={options.fps}/1"
        picture = f"videotestsrc is-live=true pattern={options.pattern} ! {caps}"
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(f"( {picture} ! {ENCODE.format(fps=options.fps)} )")
    if options.user:
        _ask_for_password(server, factory, options.user, options.password, digest=options.digest)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", server.get_bound_port(), flush=True)  # noqa: T201  what the test waits for
    GLib.MainLoop().run()


def _ask_for_password(
    server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, user: str, password: str, *, digest: bool
) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
    if digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)


if __name__ == "__main__":
    main()
