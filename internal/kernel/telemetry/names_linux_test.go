//go:build linux

package telemetry

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/dns"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

// A program resolves a name and connects; its flow, and the record of a port that
// is closed, have the name. The address is the namespace's own but nobody listens
// in this host's table at the port that is refused.
func TestPeersHaveTheNamesThatWereAskedFor(t *testing.T) {
	var mu sync.Mutex
	flows, refused := map[string]bool{}, ""
	w, err := Start(Options{
		Origin: origin, DNS: &dns.Options{}, TCP: &tcp.Options{Interval: time.Second},
		Metrics: func(_ context.Context, m pmetric.Metrics) error {
			mu.Lock()
			defer mu.Unlock()
			for _, rm := range m.ResourceMetrics().All() {
				for _, x := range rm.ScopeMetrics().At(0).Metrics().All() {
					if x.Name() != "kernel.tcp.connect.failures" {
						continue
					}
					for _, p := range x.Sum().DataPoints().All() {
						peer, known := p.Attributes().Get("network.peer.address")
						name, asked := p.Attributes().Get("server.address")
						if known && asked { // the host's other peers have no name
							flows[peer.AsString()+" "+name.AsString()] = true
						}
					}
				}
			}
			return nil
		},
		Logs: func(_ context.Context, l plog.Logs) error {
			mu.Lock()
			defer mu.Unlock()
			for _, rl := range l.ResourceLogs().All() {
				for _, r := range rl.ScopeLogs().At(0).LogRecords().All() {
					peer, known := r.Attributes().Get("network.peer.address")
					if name, ok := r.Attributes().Get("server.address"); ok && known && peer.AsString() == "10.2.3.4" && r.EventName() == "kernel.tcp.connect_failed" {
						refused = name.AsString() + ": " + r.Body().AsString()
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
	kerneltest.NewNamespace(t).Do(t, func() error { return resolveAndConnect("orders-db.internal.", "10.2.3.4", "10.2.3.4:5432") })
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		ok := flows["10.2.3.4 orders-db.internal"] && refused != ""
		mu.Unlock()
		if ok {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("flows %v, record %q", flows, refused)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	const want = "orders-db.internal: Connection of "
	if len(refused) < len(want) || refused[:len(want)] != want {
		t.Errorf("record %q", refused)
	}
	t.Log(refused)
}

// resolveAndConnect asks a server on a loopback address for a name, and connects as
// soon as it is answered with addr, which is the namespace's own from then on.
func resolveAndConnect(name, addr, to string) error {
	if err := kerneltest.Up("lo:1", netip.PrefixFrom(netip.MustParseAddr(addr), 32)); err != nil {
		return err
	}
	server, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := net.Dial("udp", "127.0.0.53:53")
	if err != nil {
		return err
	}
	defer client.Close()
	q := dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	ask, err1 := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{q}}).Pack()
	reply, err2 := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 1, Response: true}, Questions: []dnsmessage.Question{q},
		Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5},
			Body: &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()}}}}).Pack()
	_, err3 := client.Write(ask)
	buf := make([]byte, 512)
	_, from, err4 := server.ReadFrom(buf)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if _, err := server.WriteTo(reply, from); err != nil {
		return err
	}
	if _, err := client.Read(buf); err != nil {
		return err
	}
	if c, err := net.Dial("tcp", to); err == nil {
		_ = c.Close()
		return errors.New("somebody listens at " + to)
	}
	return nil
}

// What a pod is stands on all that is told of its processes.
func TestResourcesOfPods(t *testing.T) {
	o := origin
	o.Names = &Names{
		Workload: func(netip.AddrPort) (string, string) { return "orders-db", "shop" },
		Pod: func(uid string, f func(key, value string)) {
			if uid == pod {
				f("k8s.pod.name", "order-7d9f8c6b5d-x2x4z")
				f("k8s.namespace.name", "shop")
				f("k8s.deployment.name", "order")
			}
		},
	}
	flow := tcp.Flow{Identity: toDatabase().Identity, BytesSent: 7}
	flow.PeerProcess = kernel.Process{}
	text := metricsText(NewNetwork(o).Metrics(&tcp.Report{From: noon, To: noon.Add(time.Second), Flows: []tcp.Flow{flow}}))
	r := Records{Origin: o}
	r.TCP(&tcp.Event{Kind: tcp.ConnectSlow, Time: noon, Identity: flow.Identity})
	text += logsText(r.Take())
	for _, want := range []string{
		"k8s.deployment.name=order k8s.namespace.name=shop k8s.pod.name=order-7d9f8c6b5d-x2x4z k8s.pod.uid=" + pod,
		"network.peer.port=5432 service.peer.name=orders-db service.peer.namespace=shop = 7",
		"service.peer.namespace = shop",
		"Connection of order to orders-db (10.0.0.9:5432)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if got := resourceOfProfile(o, order)["k8s.deployment.name"]; got != "order" {
		t.Errorf("profiles are of %q", got)
	}
}

// The surest name counts, and what the cluster and a name server say is told apart.
func TestTheSurestNameOfAPeer(t *testing.T) {
	n := Names{
		Asked: func(p kernel.Process, _ uint32, a netip.Addr) string {
			if p.PID == order.PID && a == netip.MustParseAddr("10.0.0.9") {
				return "orders-db.internal"
			}
			return ""
		},
	}
	i := toDatabase().Identity
	f := func(what string, want peer) {
		t.Helper()
		if got := n.of(i); got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	f("a process of this host", peer{service: "postgres"})
	i.PeerProcess = kernel.Process{}
	f("a name that was asked for", peer{server: "orders-db.internal"})
	n.Workload = func(a netip.AddrPort) (string, string) {
		if a == addr("10.0.0.9:5432") {
			return "orders-db", "shop"
		}
		return "", ""
	}
	f("a workload", peer{service: "orders-db", namespace: "shop"})
	i.Remote = addr("10.0.0.9:6432")
	f("another port", peer{server: "orders-db.internal"})
	i.Role = tcp.Server
	f("a client is not what somebody called", peer{})
}
