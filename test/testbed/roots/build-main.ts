/** Builds what full machines and virtual machines start from, so that nothing waits for it later. */
import { rootFileSystem } from "./root-file-system.ts";

console.log(await rootFileSystem());
