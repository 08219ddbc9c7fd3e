import { expect, test } from "vitest";
import { parseImageName } from "./reference.ts";

test.each([
  ["registry.k8s.io/pause:3.9", "registry.k8s.io", "registry.k8s.io/pause:3.9"],
  ["busybox:1", "docker.io", "docker.io/library/busybox:1"],
  ["team/app:v1", "docker.io", "docker.io/team/app:v1"],
  ["index.docker.io/team/app:v1", "docker.io", "docker.io/team/app:v1"],
  ["10.0.0.5:5000/a/b/c:v1", "10.0.0.5:5000", "10.0.0.5:5000/a/b/c:v1"],
  ["localhost/app:v1", "localhost", "localhost/app:v1"],
])("%s is read as docker references are", (text, registry, full) => {
  expect(parseImageName(text)).toMatchObject({ registry, full });
});

test.each([
  "",
  "pause",
  "registry.k8s.io:5000/pause",
  "a b:1",
  "UPPER/x:1",
  "x:1@sha256:00",
  "r.example/../x:1",
  "r.example/x:",
  "--help:1",
  "x\n:1",
])("%j is refused", (text) => {
  expect(parseImageName(text)).toBeUndefined();
});
