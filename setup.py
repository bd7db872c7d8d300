"""Packaging with the version ranges that were tested together.

Training reads `configs/` from the repository, so the supported installation
is `pip install -e .` in a clone; `make install` does it with locked versions.
"""

import setuptools

setuptools.setup(
    name='coworld-tf',
    version='0.1.0',
    description='Offline visual RL with online world models, in TensorFlow 2',
    license='MIT',
    package_data={'coworld_tf.analysis': ['*.html', '*.json']},
    packages=setuptools.find_packages(
        include=['coworld_tf', 'coworld_tf.*', 'dreamerv2_base', 'envs']),
    python_requires='>=3.10,<3.13',
    install_requires=[
        'tensorflow>=2.16,<2.22',
        'tf-keras>=2.16,<2.22',  # Pins the TensorFlow of its own version.
        'tensorflow-probability>=0.24,<0.26',
        'setuptools>=68',  # TensorFlow Probability imports distutils.
        'mujoco==3.3.0',
        'dm_control>=1.0.28,<1.0.29',  # The release made for MuJoCo 3.3.0.
        'gymnasium>=1.1.1,<2',
        'metaworld>=3.1.1,<3.2',  # Pins MuJoCo 3.3.0, as 3.0.0 did not.
        'robodesk==1.0.0',
        'gym>=0.26.2,<0.27',  # RoboDesk imports it.
        'pillow>=10',
        'lxml>=5',
        'numpy>=1.26,<2.5',
        'h5py>=3.10',
        'imageio>=2.34',
        'ruamel.yaml>=0.18',
        'tqdm>=4.66',
        'matplotlib>=3.8',
        'tensorboard>=2.16',
    ],
    extras_require={
        'gpu': ['tensorflow[and-cuda]>=2.16,<2.22'],
        'dev': [
            'ai-edge-litert>=2.3,<2.4',  # These two run exported policies.
            'backports.strenum<1.3',  # LiteRT's; later ones end at 3.10.
            'jaxlib>=0.6.2,<0.11',
            'hypothesis>=6.100', 'pytest>=8', 'pytest-timeout>=2.3',
            'ruff>=0.6'],
    },
)
