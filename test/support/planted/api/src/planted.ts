// Planted: api/ stands below the agent.
import { createAgent } from "@drover/agent";

export const planted = createAgent;
