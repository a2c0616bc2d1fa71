"""Install mbv2ssd_ros and mbv2ssd_train, with pip or as an ament_python package with colcon."""

from glob import glob
import os
import sys

from setuptools import find_packages, setup

PACKAGE = 'mbv2ssd_ros'
# colcon installs programs where `ros2 run` looks; pip does on the PATH, where names are for all
COMMON = '' if {'install', 'develop'} & {*sys.argv} else 'mbv2ssd_'


def share_files():
    """Map each folder of share/mbv2ssd_ros to its files, as they lie in the tree."""
    folders = {'': ['package.xml']}
    patterns = ('launch/**/*.launch.*', 'config/**/*', 'models/**/*')
    for path in sorted(p for pattern in patterns for p in glob(pattern, recursive=True)):
        if os.path.isfile(path):
            folders.setdefault(os.path.dirname(path), []).append(path)
    return [(os.path.join('share', PACKAGE, folder), files) for folder, files in folders.items()]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='SSD object detection with MobileNetV2 for ROS 2: train, export, run on cameras.',
    license='Apache-2.0',
    maintainer='mbv2ssd maintainers',
    maintainer_email='mbv2ssd@example.com',
    packages=find_packages(include=['mbv2ssd_ros*', 'mbv2ssd_train*']),
    package_data={'mbv2ssd_ros.evaluation.report': ['*.css', '*.js'],
                  'mbv2ssd_train.onnx_files': ['pictures/*.png']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        *share_files(),
    ],
    python_requires='>=3.10',
    install_requires=[
        # the least that was run, see docs/versions.md; NumPy and OpenCV are Ubuntu 22.04's
        'numpy>=1.21.5',
        'onnxruntime>=1.16.0',
        'opencv-python-headless>=4.5.4.60',
        'PyYAML',
        # notices damage in JPEG images; without wheels elsewhere, and the node then warns
        'simplejpeg; platform_machine in "x86_64 aarch64"',
    ],
    extras_require={
        'test': ['pytest'],  # tells colcon how to run the tests
        'train': [
            'torch>=2.4',
            'faster-coco-eval',
            'fsspec',
            'matplotlib',
            'onnx',
            'onnxscript',
            'pydantic>=2',
            'rich',
            'safetensors',
            'tensorboard',
        ],
        'eval': ['faster-coco-eval'],  # COCO mAP without PyTorch
        'jetson': ['pycuda>=2024.1.2'],  # TensorRT itself comes with JetPack
        # evaluate_bag and label_bag
        'bags': ['faster-coco-eval', 'mcap>=1.6,<2', 'rosbags>=0.11,<0.12'],
        'plot': ['matplotlib'],  # compare_models --plot
        'cluster': ['distributed'],  # evaluate_bag --scheduler
        'dev': [
            'pytest<8.4',  # launch_pytest breaks with 8.4
            'pytest-timeout',
            'pytest-xdist',
            'hypothesis',
            'onnx',  # writes the models that tests infer with
            'ruff',
            'mypy',
            'types-PyYAML',
            'faster-coco-eval',
            'pycocotools',  # what COCO mAP is compared with
            'distributed',
            'mcap>=1.6,<2',  # evaluate_bag's, with rosbags-image, which brings rosbags
            'rosbags-image',
        ],
    },
    zip_safe=True,
    entry_points={
        'console_scripts': [
            'mbv2ssd_train = mbv2ssd_train.cli:main',
            'detector_node = mbv2ssd_ros.ros.node:main',
            'play_bag = mbv2ssd_ros.tools.play_bag:main',
            'play_images = mbv2ssd_ros.tools.play_images:main',
            'view_detections = mbv2ssd_ros.tools.view_detections:main',
            f'{COMMON}benchmark = mbv2ssd_ros.tools.benchmark:main',
            'compare_models = mbv2ssd_ros.tools.compare_models:main',
            'build_engine = mbv2ssd_ros.tools.build_engine:main',
            f'{COMMON}doctor = mbv2ssd_ros.tools.doctor:main',
            'evaluate_bag = mbv2ssd_ros.tools.evaluate_bag:main',
            'evaluate_live = mbv2ssd_ros.tools.evaluate_live:main',
            'label_bag = mbv2ssd_ros.tools.label_bag:main',
        ],
    },
)
