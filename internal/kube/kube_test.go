package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func (c *Cluster) named(at string) string {
	addr, err := netip.ParseAddrPort(at)
	if err != nil {
		addr = netip.AddrPortFrom(netip.MustParseAddr(at), 0)
	}
	name, namespace := c.Workload(addr)
	return namespace + "/" + name
}

func TestWithoutCluster(t *testing.T) {
	if _, err := Open(Options{Kubeconfig: filepath.Join(t.TempDir(), "none")}); err == nil || !strings.Contains(err.Error(), "find credentials of the cluster") {
		t.Errorf("without a file: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Open(Options{}); !errors.Is(err, ErrNoCluster) {
		t.Errorf("outside of a cluster: %v", err)
	}
}

// Who had an address, and who has it since. What is in a real cluster is tested with one.
func TestAddressesChangeHands(t *testing.T) {
	c := &Cluster{index: newIndex()}
	ends := ""
	put := func(uid, owner, ip string, port int) {
		t.Helper()
		var o object
		if err := json.Unmarshal(fmt.Appendf(nil, `{"metadata": {"name": "p", "deletionTimestamp": %q, "namespace": "shop", "uid": %q, "labels": {"app": %q}},
			"spec": {"containers": [{"ports": [{"containerPort": 80, "hostPort": %d}]}]}, "status": {"hostIP": "192.0.2.1", "podIP": %q}}`, ends, uid, owner, port, ip), &o); err != nil {
			t.Fatal(err)
		}
		c.index.put("pods", uid, readPod(&o), c.index.now())
	}
	is := func(at, want string) {
		t.Helper()
		if got := c.named(at); got != want {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
	put("a", "order", "10.1.0.5", 8080)
	put("b", "pay", "10.1.0.5", 8081) // before the end of a is told
	is("10.1.0.5", "shop/pay")
	is("192.0.2.1:8080", "shop/order")
	put("a", "order", "10.1.0.5", 8080) // changes once more
	is("10.1.0.5", "shop/pay")
	c.index.remove("pods", "b") // it was b that ended
	is("10.1.0.5", "shop/order")
	put("b", "pay", "10.1.0.5", 8081)
	c.index.remove("pods", "a")
	is("10.1.0.5", "shop/pay")
	is("192.0.2.1:8080", "/")
	put("b", "pay", "10.1.0.6", 8081)
	is("10.1.0.5", "/")
	is("10.1.0.6", "shop/pay")
	ends = "2026-11-21T10:00:00Z"
	put("e", "late", "10.1.0.6", 8083) // a list has it after its heir
	is("10.1.0.6", "shop/pay")
	ends = ""
	put("e", "late", "10.1.0.9", 8083)
	c.index.remove("pods", "b")
	is("10.1.0.6", "/")
	put("b", "pay", "10.1.0.6", 8081)
	put("c", "cart", "10.1.0.7", 8081) // both say that they have the port
	is("192.0.2.1:8081", "/")
	put("d", "pay", "10.1.0.8", 8082)
	round := c.index.begin()
	put("c", "cart", "10.1.0.7", 8081)
	c.index.end("services", round)
	is("10.1.0.8", "shop/pay")
	c.index.end("pods", round) // the list had c only
	is("10.1.0.7", "shop/cart")
	is("10.1.0.8", "/")
	is("192.0.2.1:8081", "shop/cart")
}

// A static pod is found by the uid that its node knows, and nobody takes that of another.
func TestStaticPods(t *testing.T) {
	c := &Cluster{index: newIndex()}
	const hash = "4f0c2b1e8d3a49576e1f0a9b8c7d6e5f"
	put := func(uid, annotation, value string) {
		t.Helper()
		var o object
		if err := json.Unmarshal(fmt.Appendf(nil, `{"metadata": {"name": "pod-%s", "uid": %[1]q, "annotations": {%q: %q}}}`, uid, annotation, value), &o); err != nil {
			t.Fatal(err)
		}
		c.index.put("pods", uid, readPod(&o), c.index.now())
	}
	is := func(uid, want string) {
		t.Helper()
		got := ""
		c.Pod(uid, func(k, v string) {
			if k == "k8s.pod.name" {
				got = v
			}
		})
		if got != want {
			t.Errorf("%s: got %q, want %q", uid, got, want)
		}
	}
	put("x", "kubernetes.io/config.hash", hash) // anybody may write so
	is(hash, "")
	put("a", "kubernetes.io/config.mirror", hash)
	is(hash, "pod-a")
	is("a", "pod-a")
	put("a", "kubernetes.io/config.mirror", hash) // changes
	is(hash, "pod-a")
	put("b", "kubernetes.io/config.mirror", "a")
	is("a", "pod-a")
	put("c", "kubernetes.io/config.mirror", hash) // of another node
	is(hash, "")
	is("c", "pod-c")
	c.index.remove("pods", "a")
	is(hash, "pod-c")
	put("c", "kubernetes.io/config.mirror", hash[1:])
	is(hash, "")
	is("", "")
}

func TestWorkloadNames(t *testing.T) {
	for text, want := range map[string]string{
		`{"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "order-7d9", "controller": true}], "labels": {"pod-template-hash": "7d9"}}}`:       "Deployment order order",
		`{"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "order-7d9", "controller": true}]}}`:                                               "ReplicaSet order-7d9 order-7d9",
		`{"metadata": {"ownerReferences": [{"kind": "Job", "name": "once-2024", "controller": true}]}}`:                                                      "Job once-2024 once-2024",
		`{"metadata": {"name": "etcd-n1", "ownerReferences": [{"kind": "Node", "name": "n1", "controller": true}]}, "spec": {"nodeName": "n1"}}`:             "Pod etcd etcd",
		`{"metadata": {"ownerReferences": [{"kind": "Pod", "name": "spark-driver-9f", "controller": true}], "labels": {"app.kubernetes.io/name": "spark"}}}`: "Pod spark spark",
		`{"metadata": {"ownerReferences": [{"kind": "DaemonSet", "name": "dns", "controller": true}], "annotations": {"resource.opentelemetry.io/service.name": "resolver"}},
		 "spec": {"containers": [{"env": [{"name": "OTEL_SERVICE_NAME", "value": "x"}]}]}}`: "DaemonSet dns resolver",
		`{"spec": {"containers": [{"env": [{"name": "OTEL_SERVICE_NAME", "value": "x"}]}, {"env": [{"name": "OTEL_SERVICE_NAME", "value": "y"}]}]}}`: "  ",
		`{"kind": "Status", "status": "Failure", "code": 410}`: "  ",
	} {
		var o object
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		w := workloadOf(&o)
		if got := w.kind + " " + w.name + " " + w.service; got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzReadList(f *testing.F) {
	f.Add([]byte(`{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"uid":"a"},"status":{"podIP":"10.0.0.1"}}]}`))
	f.Add([]byte(`{"items":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		x := newIndex()
		var head struct{ ResourceVersion, Continue string }
		err := readList(&bounded{strings.NewReader(string(in)), maxObject}, &head, func(o *object) {
			for _, read := range []func(*object) *entry{readPod, readService, readSlice} {
				x.put("any", o.Metadata.UID, read(o), 1)
			}
		})
		if err == nil && !json.Valid(in) {
			// Only what follows the list is not looked at.
			if d := json.NewDecoder(strings.NewReader(string(in))); d.Decode(&json.RawMessage{}) != nil {
				t.Error("a list that is none")
			}
		}
		for k := range maps.Clone(x.all) {
			x.drop(k)
		}
		if len(x.all)+len(x.byAddr)+len(x.heirs)+len(x.byPort)+len(x.byNode)+len(x.nodes)+len(x.static) != 0 {
			t.Error("something stays behind")
		}
	})
}

// BenchmarkLargeCluster lists 100,000 pods as an API server writes them, some 3 KB
// each, and says what they take.
func BenchmarkLargeCluster(b *testing.B) {
	const n = 100_000
	padding := strings.Repeat(`{"manager":"kubelet","operation":"Update","fieldsV1":{"f:status":{}}},`, 30)
	for range b.N {
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			fmt.Fprint(w, `{"metadata":{"resourceVersion":"1"},"items":[`)
			for i := range n {
				if i > 0 {
					fmt.Fprint(w, ",")
				}
				fmt.Fprintf(w, `{"metadata":{"name":"order-%[1]d-7d9f8c6b5d-x%[2]d","namespace":"team-%[3]d","uid":"6b7d2a4e-0c1f-4b7a-9f0e-%012[2]d","labels":{"pod-template-hash":"7d9f8c6b5d"},
					"managedFields":[%[4]s{}],"ownerReferences":[{"kind":"ReplicaSet","name":"order-%[1]d-7d9f8c6b5d","controller":true}]},
					"spec":{"nodeName":"n","containers":[{"name":"c","ports":[{"containerPort":8080}]}]},
					"status":{"hostIP":"192.0.%[5]d.%[6]d","podIP":"10.%[7]d.%[8]d.%[9]d","podIPs":[{"ip":"10.%[7]d.%[8]d.%[9]d"}]}}`,
					i/20, i, i/2000, padding, i/110>>8, i/110&255, i>>16, i>>8&255, i&255)
			}
			fmt.Fprint(w, "]}")
			w.Close()
		}()
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		x := newIndex()
		var head struct{ ResourceVersion, Continue string }
		peak := uint64(0)
		seen := 0
		err = readList(&bounded{r, maxObject}, &head, func(o *object) {
			x.put("pods", o.Metadata.UID, readPod(o), 1)
			if seen++; seen%5000 == 0 {
				runtime.ReadMemStats(&after)
				peak = max(peak, after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))
			}
		})
		if err != nil || len(x.all) != n {
			b.Fatal(len(x.all), err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB-kept")
		b.ReportMetric(float64(peak)/(1<<20), "MB-peak")
		runtime.KeepAlive(&x)
		r.Close()
	}
}
