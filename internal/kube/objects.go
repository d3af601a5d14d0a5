package kube

import (
	"cmp"
	"net/netip"
	"strings"
	"unique"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// object is what is read of pods, services, endpoint slices, and of the status that
// a failed watch ends with. Names of fields are those of the API, whatever their case.
type object struct {
	Metadata struct {
		Name, Namespace, UID, ResourceVersion string
		DeletionTimestamp                     string
		Labels, Annotations                   map[string]string
		OwnerReferences                       []owner
	}
	Spec struct {
		// Of pods.
		HostNetwork bool
		NodeName    string
		Containers  []struct {
			Env   []struct{ Name, Value string }
			Ports []struct{ ContainerPort, HostPort uint16 }
		}
		// Of services.
		ClusterIP               string
		ClusterIPs, ExternalIPs []string
		Ports                   []struct{ NodePort uint16 }
	}
	Status status
	// Of endpoint slices.
	Endpoints []struct {
		Addresses []string
		TargetRef *struct{ Kind string }
	}
	Ports []struct{ Port uint16 }
	// Of a status.
	Code    int
	Message string
}

type owner struct {
	Kind, Name string
	Controller bool
}

type status struct {
	HostIP, PodIP string
	PodIPs        []struct{ IP string }
	LoadBalancer  struct{ Ingress []struct{ IP string } }
}

// UnmarshalJSON lets the status of an object be text, as that of a failure is.
func (s *status) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return nil
	}
	type plain status
	return unmarshal(b, (*plain)(s))
}

// workload is what runs in pods, or a service in front of them.
type workload struct {
	kind, name, namespace string
	service               string // what peers call it; "" if it has no name that lasts
}

// entry is what is kept of an object.
type entry struct {
	work  unique.Handle[workload]
	pod   string           // name; "" for others
	addrs []netip.Addr     // that it alone has
	ports []netip.AddrPort // at addresses that it shares with others
	host  netip.Addr       // of the node that a pod runs on
	ends  bool             // it is being deleted
	round uint32           // of the list that had it last
	rare  *rare            // nil for most
}

// rare is what few have, so that it takes no room in all.
type rare struct {
	nodes  []uint16 // ports that a service has on each node
	static string   // the uid that a static pod has on its node
}

// mirrored is the uid of the static pod that a pod only mirrors: a kubelet's own, from
// its folder of manifests. It is a hash of the manifest, and what the cgroup has.
const mirrored = "kubernetes.io/config.mirror"

func readPod(o *object) *entry {
	e := &entry{work: unique.Make(workloadOf(o)), pod: o.Metadata.Name, ends: o.Metadata.DeletionTimestamp != ""}
	if uid := o.Metadata.Annotations[mirrored]; uid != "" {
		e.rare = &rare{static: uid}
	}
	e.host, _ = netip.ParseAddr(o.Status.HostIP)
	for _, c := range o.Spec.Containers {
		for _, p := range c.Ports {
			// On the host's network a container's port is the host's.
			port := p.HostPort
			if o.Spec.HostNetwork {
				port = p.ContainerPort
			}
			if port != 0 && e.host.IsValid() {
				e.ports = append(e.ports, netip.AddrPortFrom(e.host, port))
			}
		}
	}
	if o.Spec.HostNetwork {
		return e
	}
	e.addrs = addrsOf(nil, o.Status.PodIP)
	for _, ip := range o.Status.PodIPs {
		e.addrs = addrsOf(e.addrs, ip.IP)
	}
	return e
}

func readService(o *object) *entry {
	e := &entry{work: unique.Make(workload{"Service", o.Metadata.Name, o.Metadata.Namespace, o.Metadata.Name})}
	e.addrs = addrsOf(nil, o.Spec.ClusterIP) // "None" is no address
	e.addrs = addrsOf(e.addrs, o.Spec.ClusterIPs...)
	e.addrs = addrsOf(e.addrs, o.Spec.ExternalIPs...)
	for _, in := range o.Status.LoadBalancer.Ingress {
		e.addrs = addrsOf(e.addrs, in.IP)
	}
	for _, p := range o.Spec.Ports {
		if p.NodePort != 0 {
			e.rare = cmp.Or(e.rare, &rare{})
			e.rare.nodes = append(e.rare.nodes, p.NodePort)
		}
	}
	if len(e.addrs) == 0 && e.rare == nil {
		return nil
	}
	return e
}

// serviceOfSlice is the label that says whose endpoints a slice has.
const serviceOfSlice = "kubernetes.io/service-name"

// readSlice keeps endpoints that are no pods, such as a database outside of the
// cluster: pods tell more themselves.
func readSlice(o *object) *entry {
	name := o.Metadata.Labels[serviceOfSlice]
	if name == "" {
		return nil
	}
	e := &entry{work: unique.Make(workload{"Service", name, o.Metadata.Namespace, name})}
	for _, x := range o.Endpoints {
		if x.TargetRef != nil && x.TargetRef.Kind == "Pod" {
			continue
		}
		for _, a := range addrsOf(nil, x.Addresses...) {
			for _, p := range o.Ports {
				if p.Port != 0 {
					e.ports = append(e.ports, netip.AddrPortFrom(a, p.Port))
				}
			}
		}
	}
	if len(e.ports) == 0 {
		return nil
	}
	return e
}

func addrsOf(list []netip.Addr, texts ...string) []netip.Addr {
next:
	for _, s := range texts {
		a, err := netip.ParseAddr(s)
		if err != nil {
			continue
		}
		a = a.Unmap()
		for _, is := range list {
			if is == a {
				continue next
			}
		}
		list = append(list, a)
	}
	return list
}

// Where a workload says how it wants to be called.
const (
	serviceAnnotation = "resource.opentelemetry.io/service.name"
	serviceEnv        = "OTEL_SERVICE_NAME"
	templateHash      = "pod-template-hash"
)

// nameLabels name a pod that no workload owns.
var nameLabels = []string{"app.kubernetes.io/name", "app", "k8s-app"}

// workloadOf says what a pod belongs to. Names with random parts are none: each
// would be a series of its own.
func workloadOf(o *object) workload {
	m := &o.Metadata
	w := workload{namespace: m.Namespace}
	for _, r := range m.OwnerReferences {
		if r.Controller {
			w.kind, w.name = r.Kind, r.Name
		}
	}
	switch w.kind {
	case "ReplicaSet":
		if name, ok := strings.CutSuffix(w.name, "-"+m.Labels[templateHash]); ok && m.Labels[templateHash] != "" {
			w.kind, w.name = "Deployment", name
		}
	case "Job":
		if name, ok := cutSchedule(w.name); ok {
			w.kind, w.name = "CronJob", name
		}
	case "Node": // a static pod
		w.kind, w.name = "Pod", strings.TrimSuffix(m.Name, "-"+o.Spec.NodeName)
	case "StatefulSet", "DaemonSet", "ReplicationController":
	default:
		for _, l := range nameLabels {
			if v := m.Labels[l]; v != "" {
				w.name = v
				break
			}
		}
	}
	w.service = w.name
	if v := calledInEnv(o); v != "" {
		w.service = v
	}
	if v := m.Annotations[serviceAnnotation]; v != "" {
		w.service = v
	}
	return w
}

// calledInEnv is what the pod's containers agree to call their service.
func calledInEnv(o *object) string {
	name := ""
	for _, c := range o.Spec.Containers {
		for _, e := range c.Env {
			switch {
			case e.Name != serviceEnv || e.Value == "" || strings.Contains(e.Value, "$("):
			case name != "" && name != e.Value:
				return ""
			default:
				name = e.Value
			}
		}
	}
	return name
}

// cutSchedule takes the time off the name of a cron job's job: minutes since 1970.
func cutSchedule(name string) (string, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || len(name)-i-1 < 8 || strings.Trim(name[i+1:], "0123456789") != "" {
		return "", false
	}
	return name[:i], true
}

// attributes says what a pod is in the terms of semconv.
func (e *entry) attributes(f func(key, value string)) {
	w := e.work.Value()
	f(semconv.K8sPodName, e.pod)
	f(semconv.K8sNamespaceName, w.namespace)
	switch w.kind {
	case "Deployment":
		f(semconv.K8sDeploymentName, w.name)
	case "StatefulSet":
		f(semconv.K8sStatefulsetName, w.name)
	case "DaemonSet":
		f(semconv.K8sDaemonsetName, w.name)
	case "Job":
		f(semconv.K8sJobName, w.name)
	case "CronJob":
		f(semconv.K8sCronjobName, w.name)
	}
}
