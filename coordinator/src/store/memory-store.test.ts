import { memoryStore } from "./memory-store.ts";
import { storeConformance } from "./store-conformance.ts";

storeConformance("memoryStore", async (options) => {
  const store = memoryStore(options);
  return { store, remove: () => store.close() };
});
