"""Speed of the overlay: one person over a 960 x 540 image, posing the body apart from drawing it.

    python benchmarks/render.py [--frames 200] [--json FILE]

With a GPU and pytorch3d its rasteriser is timed beside the z-buffer.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from eval3dpw.drawing.overlay import MeshRasteriser, ZBufferRasteriser, best_rasteriser, overlay_mesh
from fitting.bodies.body import load_body
from pose2d.files.storage import write_json

WIDTH, HEIGHT = 960, 540
DISTANCE_M = 3.5  # the body then fills nearly the height of the picture
WARM_UP = 5  # frames that compile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    options = parser.parse_args()

    body = load_body()
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    camera = np.array([[HEIGHT * 1.6, 0, WIDTH / 2], [0, HEIGHT * 1.6, HEIGHT / 2], [0, 0, 1.0]])
    start = time.perf_counter()
    poses = 16
    rotations = torch.eye(3).repeat(poses, 24, 1, 1)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    with torch.no_grad():
        meshes = body(rotations, torch.randn(poses, 10), torch.tensor([0.0, 0.0, DISTANCE_M]).expand(poses, 3))
    vertices = meshes.vertices.double().numpy()
    result = {
        "size": f"{WIDTH}x{HEIGHT}",
        "vertices": vertices.shape[1],
        "faces": len(body.faces),
        "posing_ms": 1000 * (time.perf_counter() - start) / poses,
    }
    rasterisers: dict[str, MeshRasteriser] = {"z-buffer": ZBufferRasteriser()}
    best = best_rasteriser()
    if not isinstance(best, ZBufferRasteriser):
        rasterisers["pytorch3d"] = best
    for name, rasteriser in rasterisers.items():
        times = []
        cpu_start = 0.0
        for frame in range(options.frames + WARM_UP):
            if frame == WARM_UP:
                cpu_start = time.process_time()
            start = time.perf_counter()
            overlay_mesh(image, vertices[frame % poses], body.faces, camera, (0, 114, 178), rasteriser=rasteriser)
            times.append(time.perf_counter() - start)
        measured = np.array(times[WARM_UP:])
        cpu_ms = 1000 * (time.process_time() - cpu_start) / options.frames
        result[name] = {
            "frames_per_s": float(1 / measured.mean()),
            "cpu_ms": cpu_ms,
            "median_ms": float(1000 * np.median(measured)),
            "p95_ms": float(1000 * np.quantile(measured, 0.95)),
        }
        rate, median = 1 / measured.mean(), 1000 * np.median(measured)
        print(f"{name}: {rate:.0f} frames/s (median {median:.1f} ms, {cpu_ms:.1f} ms of CPU)")
    print(f"posing: {result['posing_ms']:.1f} ms a body; {WIDTH}x{HEIGHT}, {vertices.shape[1]} vertices")
    if options.json is not None:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
