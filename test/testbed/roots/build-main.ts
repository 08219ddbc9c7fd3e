/** Builds what full machines and virtual machines start from, so that nothing waits for it later. */
import { diskImage } from "../vm/disk-image.ts";
import { agentExecutable } from "./agent-executable.ts";
import { clusterImageArchives } from "./cluster-images.ts";
import { rootFileSystem } from "./root-file-system.ts";

console.log(`root of machines: ${await rootFileSystem()}`);
console.log(`images of a cluster: ${(await clusterImageArchives()).length}`);
console.log(`the agent: ${await agentExecutable()}`);
await diskImage();
console.log("disk of virtual machines: built");
