/** What containerd's CRI reads as "never collect this image". */
export const PIN_LABEL = "io.cri-containerd.pinned";
