# One image for every stage: the binary, OpenCV's libraries, ONNX Runtime.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    clang libclang-dev libopencv-dev libssl-dev pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin headcount

FROM python:3.11-slim-bookworm AS onnxruntime
RUN pip download --no-deps --only-binary=:all: -d /wheel onnxruntime==1.32.0 \
    && python -m zipfile -e /wheel/*.whl /onnxruntime

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
    ca-certificates curl libopencv-core406 libopencv-imgcodecs406 libopencv-imgproc406 \
    libopencv-objdetect406 libopencv-videoio406 libssl3 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/headcount headcount
COPY --from=onnxruntime /onnxruntime/onnxruntime/capi/libonnxruntime.so.1.32.0 /usr/local/lib/
COPY --from=build /src/target/release/headcount /usr/local/bin/headcount
ENV ORT_DYLIB_PATH=/usr/local/lib/libonnxruntime.so.1.32.0
USER headcount
WORKDIR /var/lib/headcount
ENTRYPOINT ["headcount"]
CMD ["up"]
