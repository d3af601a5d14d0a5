package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/testkit/kubeapi"
)

// Tests of a Cluster with a real API server (make kube). Pods of workloads are made by
// the real controllers; there is no kubelet and no scheduler, so that pods get a node, an
// address and a phase from these tests, through the API.

const (
	agent     = "guanlan-agent" // service account and role of the guide
	agentsIn  = "observability"
	roles     = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
	bindings  = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
	podsIn    = "/api/v1/namespaces/%s/pods"
	inCluster = "/api/v1/namespaces/"
)

// eventually waits for what another process does, on a machine that may be busy.
func eventually(t testing.TB, what func() string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 3 minutes: %s", what())
		}
	}
}

// startServer starts a server where the guide's manifest is applied.
func startServer(t *testing.T, flags ...string) *kubeapi.Server {
	s := kubeapi.Start(t, flags...)
	for _, n := range []string{agentsIn, "shop", "jobs", "ci"} {
		s.Create("/api/v1/namespaces", kubeapi.Object{"metadata": kubeapi.Object{"name": n}})
	}
	guide, err := os.ReadFile("../../docs/guides/kernel/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(guide), "```yaml kubernetes\n")
	text, _, _ = strings.Cut(text, "```")
	kind := regexp.MustCompile(`(?m)^kind: (\w+)`)
	for _, m := range strings.Split(text, "\n---\n") {
		s.Create(map[string]string{
			"ServiceAccount": inCluster + agentsIn + "/serviceaccounts", "ClusterRole": roles, "ClusterRoleBinding": bindings,
			"DaemonSet": "/apis/apps/v1/namespaces/" + agentsIn + "/daemonsets",
		}[kind.FindStringSubmatch(m)[1]], m)
	}
	return s
}

// follower is a Cluster whose requests and log are kept.
type follower struct {
	*Cluster
	next http.RoundTripper
	hold func(*http.Request) // before a request is sent; nil: none

	mu      sync.Mutex
	queries []string // path?query
	log     bytes.Buffer
}

func (f *follower) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.queries = append(f.queries, r.URL.Path+"?"+r.URL.RawQuery)
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		hold(r)
	}
	return f.next.RoundTrip(r)
}

func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

// asked are the queries so far that contain all texts.
func (f *follower) asked(texts ...string) (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
next:
	for _, q := range f.queries {
		for _, text := range texts {
			if !strings.Contains(q, text) {
				continue next
			}
		}
		all = append(all, q)
	}
	return all
}

// soon is a pace with short pauses.
var soon = pace{watchFor, func(ctx context.Context, failed int) { pause(ctx, min(failed, 2)) }}

func followWith(t testing.TB, kubeconfig string, p pace, hold func(*http.Request)) *follower {
	t.Helper()
	client, base, err := connect(Options{Kubeconfig: kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{next: client.Transport, hold: hold}
	f.Cluster = follow(&http.Client{Transport: f}, base, slog.New(slog.NewTextHandler(f, nil)), p)
	t.Cleanup(func() {
		f.Close()
		client.CloseIdleConnections()
	})
	return f
}

// followServer follows as the guide's service account does.
func followServer(t testing.TB, s *kubeapi.Server) *follower {
	t.Helper()
	f := followWith(t, s.Kubeconfig(s.URL(), kubeapi.Object{"token": s.Token(agentsIn, agent)}), soon, nil)
	f.works(t)
	return f
}

func (f *follower) works(t testing.TB) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprint(f.Err()) }, func() bool { return f.Err() == nil })
}

// is waits until an address is so called.
func (f *follower) is(t testing.TB, at, want string) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprintf("%s is %q, want %q; %v", at, f.named(at), want, f.Err()) }, func() bool { return f.named(at) == want })
}

// podsOf waits for as many pods with a label that run or wait to.
func podsOf(t testing.TB, s *kubeapi.Server, namespace, label string, n int) (all []kubeapi.Object) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprintf("%d pods of %s in %s, want %d", len(all), label, namespace, n) }, func() bool {
		all = s.Get(fmt.Sprintf(podsIn, namespace) + "?labelSelector=" + label).Items()
		return len(all) == n
	})
	return all
}

// runs does what scheduler and kubelet would for a pod: it gets a node and addresses.
func runs(s *kubeapi.Server, pod kubeapi.Object, node, host string, ips ...string) {
	path := fmt.Sprintf(podsIn, pod.At("metadata", "namespace")) + "/" + pod.At("metadata", "name")
	if s.Get(path).At("spec", "nodeName") == "" {
		s.Create(path+"/binding", kubeapi.Object{"metadata": kubeapi.Object{"name": pod.At("metadata", "name")}, "target": kubeapi.Object{"kind": "Node", "name": node}})
	}
	status := kubeapi.Object{"phase": "Running", "hostIP": host, "conditions": []kubeapi.Object{{"type": "Ready", "status": "True"}}}
	if len(ips) > 0 {
		var all []kubeapi.Object
		for _, ip := range ips {
			all = append(all, kubeapi.Object{"ip": ip})
		}
		status["podIP"], status["podIPs"] = ips[0], all
	}
	s.Patch(path+"/status", kubeapi.Object{"status": status})
}

// barePod is a pod that runs and that no controller makes.
func barePod(t testing.TB, s *kubeapi.Server, namespace, name, ip string) kubeapi.Object {
	t.Helper()
	p := s.Create(fmt.Sprintf(podsIn, namespace), kubeapi.Parse(t, `{"metadata": {"name": %q, "labels": {"app": %q}},
		"spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}}`, name, name))
	runs(s, p, "n1", "192.0.2.1", ip)
	return p
}

// etcdUID is what the node has for a static pod: a hash of its manifest.
const etcdUID = "4f0c2b1e8d3a49576e1f0a9b8c7d6e5f"

// mirrorPod does what n1's kubelet does for a manifest in its folder: it tells the server.
func mirrorPod(t testing.TB, s *kubeapi.Server, name, uid string, port int) {
	t.Helper()
	runs(s, s.Create("/api/v1/namespaces/kube-system/pods", kubeapi.Parse(t, `{"metadata": {"name": "%s-n1",
		"annotations": {"kubernetes.io/config.hash": %q, "kubernetes.io/config.mirror": %[2]q, "kubernetes.io/config.source": "file", "kubernetes.io/config.seen": "2026-11-21T10:00:00Z"},
		"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": %q, "controller": true}]},
		"spec": {"nodeName": "n1", "hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": %d}]}]}}`,
		name, uid, s.Get("/api/v1/nodes/n1").At("metadata", "uid"), port)), "n1", "192.0.2.1", "192.0.2.1")
}

// link stands between a Cluster and a server, and can be cut.
type link struct {
	net.Listener
	to string

	mu    sync.Mutex
	state int
	conns map[net.Conn]bool
}

const (
	through = iota
	cut     // who comes is sent away
	hole    // who comes hears nothing
)

func newLink(t testing.TB, s *kubeapi.Server) *link {
	t.Helper()
	host, _, _ := net.SplitHostPort(s.Addr) // that the server's certificate names
	ln, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: ln, to: s.Addr, conns: map[net.Conn]bool{}}
	go l.serve()
	t.Cleanup(func() {
		_ = ln.Close()
		l.set(cut)
	})
	return l
}

func (l *link) url() string { return "https://" + l.Addr().String() }

func (l *link) serve() {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", l.to)
		l.mu.Lock()
		if err != nil || l.state == cut {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			l.mu.Unlock()
			continue
		}
		l.conns[in], l.conns[out] = true, true
		l.mu.Unlock()
		go l.copy(in, out)
		go l.copy(out, in)
	}
}

// copy copies what a link lets through.
func (l *link) copy(to, from net.Conn) {
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		l.mu.Lock()
		lost := l.state == hole
		l.mu.Unlock()
		if !lost && n > 0 {
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

// set changes what the link does. Connections that lost something do not go on.
func (l *link) set(state int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state = state; state == hole {
		return
	}
	for c := range l.conns {
		_ = c.Close()
		delete(l.conns, c)
	}
}

// kubeconfigWithCA takes the server to be whom a certificate of Dir vouches for.
func kubeconfigWithCA(t testing.TB, s *kubeapi.Server, url, file string, user kubeapi.Object) string {
	t.Helper()
	path := s.Kubeconfig(url, user)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(filepath.Join(s.Dir, "ca.crt")), []byte(filepath.Join(s.Dir, file)))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
