/** Where a node of a cluster has its things. */

export const KUBELET_UNIT = "kubelet.service";
export const KUBELET_DIRECTORY = "/var/lib/kubelet";
export const CNI_DIRECTORY = "/etc/cni/net.d";
export const KUBELET_KUBECONFIG = "/etc/kubernetes/kubelet.conf";
export const BOOTSTRAP_KUBECONFIG = "/etc/kubernetes/bootstrap-kubelet.conf";
export const CLIENT_CERTIFICATE = `${KUBELET_DIRECTORY}/pki/kubelet-client-current.pem`;
export const KUBELET_CONFIG = `${KUBELET_DIRECTORY}/config.yaml`;
export const MANIFESTS_DIRECTORY = "/etc/kubernetes/manifests";
export const API_SERVER_MANIFEST = `${MANIFESTS_DIRECTORY}/kube-apiserver.yaml`;
export const ETCD_MANIFEST = `${MANIFESTS_DIRECTORY}/etcd.yaml`;
/** kubeadm join writes it, and joins no machine that has one; kubeadm reset takes it away. */
export const CLUSTER_CA = "/etc/kubernetes/pki/ca.crt";
/** Of a worker. */
export const BOOTSTRAP_FILES = [KUBELET_KUBECONFIG, BOOTSTRAP_KUBECONFIG, CLUSTER_CA] as const;

export const CONFIG_DIRECTORY = "/run/drover/kubeadm";
/** Holds a bootstrap token while kubeadm runs; /run is in memory. */
export const JOIN_CONFIG_PATH = `${CONFIG_DIRECTORY}/join.yaml`;
/** Where the kubelet step puts what kubeadm is to set in the kubelet's configuration. */
export const PATCHES_DIRECTORY = "/etc/kubernetes/drover-patches";
