//go:build linux

package telemetry

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/dns"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/kube"
)

// Names says who is at an address, where it is no process of this host. Fields
// that are nil are not asked. All are called often, from several goroutines. A nil
// *Names knows nobody.
type Names struct {
	// Asked is the name that a process asked for and got the address; "" if none.
	Asked func(p kernel.Process, netns uint32, a netip.Addr) string
	// Workload is who has an endpoint in the cluster; the port is 0 for clients,
	// whose port says nothing. Both are "" where nobody has it, or several.
	Workload func(a netip.AddrPort) (name, namespace string)
	// Pod calls f for the attributes of a pod, by uid.
	Pod func(uid string, f func(key, value string))
}

// peer is the other end of a flow by name. The surest name counts: a process of this
// host, then the cluster's, then what was asked for.
type peer struct {
	service   string // service.peer.name
	namespace string // service.peer.namespace, of names in a cluster
	server    string // server.address, of servers that have no other name
}

// name is what people call it, "" if it has none.
func (p peer) name() string { return cmp.Or(p.service, p.server) }

func (p peer) compare(o peer) int {
	return cmp.Or(cmp.Compare(p.service, o.service), cmp.Compare(p.namespace, o.namespace), cmp.Compare(p.server, o.server))
}

func (n *Names) of(i tcp.Identity) (p peer) {
	if i.PeerProcess.PID != 0 {
		return peer{service: subjectOf(i.PeerProcess, "", "").service}
	}
	if n == nil {
		return peer{}
	}
	if n.Workload != nil {
		if p.service, p.namespace = n.Workload(i.Remote); p.service != "" {
			return p
		}
	}
	if n.Asked != nil && i.Role == tcp.Client {
		p.server = n.Asked(i.Process, i.NetNS, i.Remote.Addr())
	}
	return p
}

func (n *Names) pod(uid string, f func(key, value string)) {
	if n != nil && n.Pod != nil {
		n.Pod(uid, f)
	}
}

// Kubernetes says which cluster is followed.
type Kubernetes struct {
	Kubeconfig string // file; "": the cluster around this process, if there is one
}

// openNames gives the watch's origin its names. Those of name servers come from
// whichever feature runs then.
func (w *Watch) openNames(o *Options) error {
	names := Names{Asked: func(p kernel.Process, netns uint32, a netip.Addr) string {
		if f := w.dns.Load(); f != nil {
			return f.Called(p, netns, a)
		}
		return ""
	}}
	if o.Kubernetes != nil {
		c, err := kube.Open(kube.Options{Kubeconfig: o.Kubernetes.Kubeconfig, Logger: o.Logger})
		if err != nil && !errors.Is(err, kube.ErrNoCluster) {
			return fmt.Errorf("follow the Kubernetes cluster: %w", err)
		}
		if err == nil {
			w.cluster, names.Workload, names.Pod = c, c.Workload, c.Pod
		}
	}
	w.origin.Names = &names
	return nil
}

// nameBy takes names of name servers from the one of the features that has them.
func (w *Watch) nameBy(features []kernel.Feature) {
	w.dns.Store(nil)
	for _, f := range features {
		if f, ok := f.(*dns.Feature); ok {
			w.dns.Store(f)
		}
	}
}

func (w *Watch) closeNames() {
	if w.cluster != nil {
		w.cluster.Close()
	}
}

// clusterAnswers is how long Features waits for the cluster's first answers.
const clusterAnswers = 3 * time.Second

// clusterFeature says how the cluster fares, where there is one.
func (w *Watch) clusterFeature() []Feature {
	if w.cluster == nil {
		return nil
	}
	select {
	case <-w.cluster.Tried():
	case <-time.After(clusterAnswers):
	}
	f := Feature{Name: "kubernetes", State: Works, Capabilities: []string{}}
	if err := w.cluster.Err(); err != nil {
		f.State, f.Error = Failed, strings.ReplaceAll(err.Error(), "\n", "; ")
		refused := kube.Refusals(err)
		for _, r := range refused {
			if !strings.Contains(f.Missing, r.Missing()) {
				f.Missing = strings.TrimPrefix(f.Missing+", "+r.Missing(), ", ")
			}
		}
		if len(refused) > 0 {
			f.State, f.Next = Missing, refused[0].Next()
		}
	}
	return []Feature{f}
}
