"""What the tests of ONNX share."""

from throughtime.export.onnx import exporting


def put(run, folder):
    """Write an export without verifying it; return the folder."""
    folder.mkdir(parents=True)
    for name, model in exporting.write_graphs(run).items():
        (folder / name).write_bytes(model.SerializeToString())
    for name, content in exporting.runner_files().items():
        (folder / name).write_bytes(content)
    return folder
