"""Package metadata. Tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "bnn_compiler/version.py").read_text())

setup(
    name="bnn_compiler",
    version=VERSION.group(1),
    description="A hardware-aware compiler for binary neural networks, on Apache TVM",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)],
    # ffi 0.1.15 crashes when it serialises an IR module. psutil and cloudpickle
    # are what TVM's process pool imports without requiring them.
    install_requires=[
        "apache-tvm==0.27.0.post1",
        "apache-tvm-ffi==0.1.14.post1",
        "cloudpickle>=3",
        "numpy>=1.26",
        "platformdirs>=4",
        "psutil>=5",
        "rich>=13",
        "safetensors>=0.4",
        "torch>=2.9,<2.14",
        "xgboost>=2",
    ],
    extras_require={
        "cross": ["ziglang>=0.14"],
        # Compiles for GPUs where there is no CUDA toolkit.
        "cuda": ["nvidia-cuda-nvcc>=13"],
        "dev": [
            "cmake",
            "hypothesis",
            "matplotlib",
            "mlxtend",
            "mypy",
            "nvidia-cuda-nvdisasm",
            "onnx>=1.23",
            "pillow",
            "pymoo==0.6.2",
            "pytest",
            "pytest-xdist>=3.6",
            "ray>=2.50,<3",
            "ruff",
            "scikit-learn",
            "tornado",
            "ziglang>=0.14",
        ],
        # `bnnc search --ray`.
        "distributed": ["ray>=2.50,<3"],
        # Networks from .onnx files; with onnxruntime they are checked faster.
        "onnx": ["onnx>=1.23"],
        # TVM's tracker imports it without requiring it.
        "device": ["tornado"],
        "bench": [
            "nncf>=3.4",
            "onnx>=1.23",
            "onnxruntime>=1.32",
            "openvino==2026.4",
            "scikit-learn",
        ],
        "search": ["pymoo==0.6.2"],
        "demo": ["mlxtend", "pillow", "scikit-learn"],
        # The PNG of `bnnc predict --sweep`.
        "plot": ["matplotlib"],
    },
    entry_points={"console_scripts": ["bnnc = bnn_compiler.cli:main"]},
    packages=[
        *find_packages(include=["bnn_compiler*"]),
        "bnn_compiler.data.schedules",
        "bnn_compiler.data.targets",
    ],
    # schedules/ and targets/ are data: a wheel carries them inside the package, as data/.
    package_dir={
        "bnn_compiler.data.schedules": "schedules",
        "bnn_compiler.data.targets": "targets",
    },
    package_data={
        "bnn_compiler": [
            "py.typed",
            "deploy/cpu/runtime/*",
            "deploy/cuda/runtime/*",
            "kernels/cuda/device.cuh",
            "kernels/cuda/host.h",
            "device/*.[ch]",
            "device/run.sh",
            "roofline/roofline.c",
            "report/page.css",
        ],
        "bnn_compiler.data.schedules": ["*.jsonl", "*.ubj"],
        "bnn_compiler.data.targets": ["*.toml"],
    },
)
