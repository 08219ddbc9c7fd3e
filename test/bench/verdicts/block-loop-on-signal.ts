/** Imported by the coordinator before its own code: SIGUSR2 stops its event loop, and nothing else of the process. */

process.on("SIGUSR2", () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(process.env["DROVER_BENCH_BLOCK_MS"] ?? "60000"));
});
