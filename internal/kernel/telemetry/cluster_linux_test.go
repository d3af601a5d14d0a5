package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/dns"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/testkit/kubeapi"
)

// A program connects to a pod's address, which a real API server knows (make kube): its flow
// has the name of the pod's workload, though the program asked for another. Nobody listens there.
func TestPeersHaveTheNamesOfACluster(t *testing.T) {
	s := kubeapi.Start(t)
	const pods = "/api/v1/namespaces/shop/pods"
	s.Create("/api/v1/namespaces", kubeapi.Object{"metadata": kubeapi.Object{"name": "shop"}})
	s.Create(pods, kubeapi.Parse(t, `{"metadata": {"name": "orders-0", "labels": {"app": "orders"}}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}}`))
	s.Patch(pods+"/orders-0/status", kubeapi.Parse(t, `{"status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.2.3.5", "podIPs": [{"ip": "10.2.3.5"}]}}`))

	var mu sync.Mutex
	flows := map[string]bool{}
	start := func(user kubeapi.Object) (*Watch, Feature) {
		w, err := Start(Options{
			Origin: origin, DNS: &dns.Options{}, TCP: &tcp.Options{Interval: time.Second},
			Kubernetes: &Kubernetes{Kubeconfig: s.Kubeconfig(s.URL(), user)},
			Metrics: func(_ context.Context, m pmetric.Metrics) error {
				mu.Lock()
				defer mu.Unlock()
				for _, rm := range m.ResourceMetrics().All() {
					for _, x := range rm.ScopeMetrics().At(0).Metrics().All() {
						if x.Name() == "kernel.tcp.connect.failures" {
							for _, p := range x.Sum().DataPoints().All() {
								text := ""
								for _, k := range []string{"network.peer.address", "service.peer.name", "service.peer.namespace", "server.address"} {
									if v, ok := p.Attributes().Get(k); ok {
										text += v.AsString() + " "
									}
								}
								flows[text] = true
							}
						}
					}
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := w.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		for _, s := range w.running.Status() {
			if u := (*kernel.Unsupported)(nil); errors.As(s.Err, &u) {
				t.Skip(s.Err)
			} else if s.Err != nil {
				t.Fatal(s.Err)
			}
		}
		<-w.cluster.Tried()
		return w, w.clusterFeature()[0]
	}
	s.Certify("nobody")
	certificate := func(name string) kubeapi.Object {
		return kubeapi.Object{"client-certificate": filepath.Join(s.Dir, name+".crt"), "client-key": filepath.Join(s.Dir, name+".key")}
	}
	_, got := start(certificate("nobody"))
	got.Error = ""
	if d := gocmp.Diff(Feature{Name: "kubernetes", State: Missing, Capabilities: []string{},
		Missing: "leave to list pods, leave to list services, leave to list endpointslices.discovery.k8s.io",
		Next:    "allow list and watch of pods, services and endpointslices.discovery.k8s.io in all namespaces"}, got); d != "" {
		t.Errorf("without rights (-want +got):\n%s", d)
	}
	if _, got := start(kubeapi.Object{"token": "x"}); got.Missing != "credentials that the cluster takes" || got.State != Missing {
		t.Errorf("with a wrong token: %+v", got)
	}

	_, got = start(certificate("admin"))
	if got.State != Works {
		t.Fatalf("%+v", got)
	}
	done := make(chan error)
	kernel.Alone(func() { done <- resolveAndConnect("orders-db.internal.", "10.2.3.5", "10.2.3.5:5432") })
	if err := <-done; errors.Is(err, os.ErrPermission) {
		t.Skip(&kernel.Unsupported{Feature: "network namespaces", Missing: "CAP_SYS_ADMIN", Err: err})
	} else if err != nil {
		t.Fatal(err)
	}
	const want = "10.2.3.5 orders shop "
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		ok := flows[want]
		mu.Unlock()
		if ok {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%q is not in %v", want, flows)
		}
	}
}

// A program runs in a static pod, whose cgroup has another uid than the pod that the API
// server knows. What is told of it has the pod's name.
func TestStaticPodsHaveTheNamesOfACluster(t *testing.T) {
	s := kubeapi.Start(t)
	hash := fmt.Sprintf("%032x", time.Now().UnixNano())
	s.Create("/api/v1/nodes", kubeapi.Object{"metadata": kubeapi.Object{"name": "n1"}})
	s.Create("/api/v1/namespaces/kube-system/pods", kubeapi.Parse(t, `{"metadata": {"name": "etcd-n1",
		"annotations": {"kubernetes.io/config.hash": %q, "kubernetes.io/config.mirror": %[1]q, "kubernetes.io/config.source": "file"},
		"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": %q, "controller": true}]},
		"spec": {"nodeName": "n1", "hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}}`, hash, s.Get("/api/v1/nodes/n1").At("metadata", "uid")))

	resources := make(chan string, 100)
	w, err := Start(Options{
		Origin: origin, Audit: &audit.Options{},
		Kubernetes: &Kubernetes{Kubeconfig: s.Kubeconfig(s.URL(), kubeapi.Object{
			"client-certificate": filepath.Join(s.Dir, "admin.crt"), "client-key": filepath.Join(s.Dir, "admin.key")})},
		Logs: func(_ context.Context, l plog.Logs) error {
			for _, rl := range l.ResourceLogs().All() {
				a := rl.Resource().Attributes()
				if uid, ok := a.Get("k8s.pod.uid"); ok && uid.AsString() == hash {
					text := ""
					for _, k := range []string{"k8s.pod.name", "k8s.namespace.name"} {
						if v, ok := a.Get(k); ok {
							text += v.AsString() + " "
						}
					}
					select {
					case resources <- text:
					default:
					}
				}
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, s := range w.running.Status() {
		kerneltest.Need(t, s.Err)
	}
	<-w.cluster.Tried()
	if got := w.clusterFeature()[0]; got.State != Works {
		t.Fatalf("%+v", got)
	}

	mount := cmp.Or(w.host.MemoryMount(), w.host.Cgroup2())
	parent := filepath.Join(mount, "kubepods-burstable-pod"+hash+".slice")
	dir := filepath.Join(parent, "cri-containerd-"+hash+hash+".scope")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "the right to make cgroups", Err: err})
	}
	defer func() {
		if err := errors.Join(os.Remove(dir), os.Remove(parent)); err != nil {
			t.Errorf("a process is left in the cgroup: %v", err)
		}
	}()
	if out, err := exec.Command("/bin/sh", "-c", `echo $$ > "$0"/cgroup.procs && exec /bin/sleep 0`, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	select {
	case got := <-resources:
		if got != "etcd-n1 kube-system " { // whether it is of the shell or of what it runs
			t.Errorf("got %q", got)
		}
	case <-time.After(kerneltest.Patience):
		t.Fatal("nothing is told of the pod")
	}
}
