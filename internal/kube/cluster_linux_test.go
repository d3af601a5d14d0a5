package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/testkit/kubeapi"
)

func TestClusterOfAnAPIServer(t *testing.T) {
	s := startServer(t)
	t.Logf("kube-apiserver %s", s.Get("/version").At("gitVersion"))
	if !t.Run("names", func(t *testing.T) { names(t, s.In(t)) }) {
		return // the others look at what it made
	}
	t.Run("changes", func(t *testing.T) { changes(t, s.In(t)) })
	t.Run("rights", func(t *testing.T) { rights(t, s.In(t)) })
	t.Run("bookmarks", func(t *testing.T) { bookmarks(t, s.In(t)) })
	t.Run("credentials", func(t *testing.T) { credentials(t, s.In(t)) })
	t.Run("silence", func(t *testing.T) { silence(t, s.In(t)) })
	t.Run("restart", func(t *testing.T) { restart(t, s.In(t)) })
	t.Run("compaction", func(t *testing.T) { compaction(t, s.In(t)) })
}

// What there is in a cluster, before a Cluster looks at it.
func names(t *testing.T, s *kubeapi.Server) {
	for _, n := range []string{"n1", "n2"} {
		s.Create("/api/v1/nodes", kubeapi.Object{"metadata": kubeapi.Object{"name": n}})
	}
	const workload = `{"metadata": {"name": %q}, "spec": {"selector": {"matchLabels": {"app": %[1]q}}, "template": {"metadata": {"labels": {"app": %[1]q}}, "spec": %s}}}`
	deployments, sets, daemons := "/apis/apps/v1/namespaces/shop/deployments", "/apis/apps/v1/namespaces/shop/statefulsets", "/apis/apps/v1/namespaces/kube-system/daemonsets"
	s.Create(deployments, kubeapi.Parse(t, workload, "order", `{"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 8080, "hostPort": 8088}]}]}`))
	runs(s, podsOf(t, s, "shop", "app=order", 1)[0], "n1", "192.0.2.1", "10.1.0.5")
	s.Create(sets, kubeapi.Parse(t, workload, "db", `{"containers": [{"name": "c", "image": "i", "env": [{"name": "OTEL_SERVICE_NAME", "value": "orders-db"}]},
		{"name": "d", "image": "i", "env": [{"name": "OTEL_SERVICE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}`))
	db := podsOf(t, s, "shop", "app=db", 1)[0]
	runs(s, db, "n1", "192.0.2.1", "10.1.0.6", "fd00::6")
	for i, name := range []string{"node-exporter", "kube-proxy"} { // on the host's network, on both nodes
		s.Create(daemons, kubeapi.Parse(t, workload, name, fmt.Sprintf(`{"hostNetwork": true, "tolerations": [{"operator": "Exists"}],
			"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": %d}, {"containerPort": 7777}]}]}`, 9100+i)))
		for _, p := range podsOf(t, s, "kube-system", "app="+name, 2) {
			node := "n1"
			if text, _ := json.Marshal(p["spec"].(map[string]any)["affinity"]); strings.Contains(string(text), `"n2"`) {
				node = "n2"
			}
			host := "192.0.2." + node[1:]
			runs(s, p, node, host, host)
		}
	}
	const job = `{"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}`
	s.Create("/apis/batch/v1/namespaces/jobs/cronjobs", kubeapi.Parse(t, `{"metadata": {"name": "report"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": %s}}}`, job))
	s.Patch("/apis/batch/v1/namespaces/jobs/cronjobs/report/status", kubeapi.Object{"status": kubeapi.Object{"lastScheduleTime": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}}) // so it is due
	cron := podsOf(t, s, "jobs", "batch.kubernetes.io/job-name", 1)[0]
	runs(s, cron, "n2", "192.0.2.2", "10.1.1.7")
	s.Create("/apis/batch/v1/namespaces/ci/jobs", kubeapi.Parse(t, `{"metadata": {"name": "migrate"}, "spec": %s}`, job))
	runs(s, podsOf(t, s, "ci", "job-name=migrate", 1)[0], "n2", "192.0.2.2", "10.1.1.9")
	mirrorPod(t, s, "etcd", etcdUID, 2379)
	barePod(t, s, "shop", "debug", "10.1.1.10")
	runs(s, s.Create("/api/v1/namespaces/ci/pods", kubeapi.Parse(t, `{"metadata": {"name": "runner-x7"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}`)), "n1", "192.0.2.1", "10.1.1.8")

	services, endpoints := "/api/v1/namespaces/shop/services", "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
	s.Create(services, kubeapi.Parse(t, `{"metadata": {"name": "order"}, "spec": {"type": "LoadBalancer", "selector": {"app": "order"}, "ipFamilyPolicy": "RequireDualStack",
		"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd96::a"], "externalIPs": ["198.51.100.1"], "ports": [{"port": 80, "nodePort": 30080}]}}`))
	s.Patch(services+"/order/status", kubeapi.Parse(t, `{"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, {"hostname": "lb.example"}]}}}`))
	s.Create(services, kubeapi.Parse(t, `{"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 5432}]}}`))
	s.Create(services, kubeapi.Parse(t, `{"metadata": {"name": "far"}, "spec": {"type": "ExternalName", "externalName": "far.example"}}`))
	s.Create(services, kubeapi.Parse(t, `{"metadata": {"name": "legacy-db"}, "spec": {"clusterIP": "10.96.0.11", "ports": [{"port": 5432}]}}`))
	s.Create(endpoints, kubeapi.Parse(t, `{"metadata": {"name": "legacy-1", "labels": {"kubernetes.io/service-name": "legacy-db"}},
		"addressType": "IPv4", "endpoints": [{"addresses": ["10.2.3.4"]}], "ports": [{"port": 5432}]}`))
	s.Create(endpoints, kubeapi.Parse(t, `{"metadata": {"name": "order-1", "labels": {"kubernetes.io/service-name": "order"}},
		"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.99"], "targetRef": {"kind": "Pod", "name": "order-x"}}], "ports": [{"port": 8080}]}`))
	eventually(t, func() string { return "a slice of the pods of order" }, func() bool { // by the controller
		return len(s.Get(endpoints+"?labelSelector=endpointslice.kubernetes.io/managed-by,kubernetes.io/service-name=order").Items()) == 2
	})

	f := followServer(t, s)
	for at, want := range map[string]string{
		"10.1.0.5:8080":    "shop/order",
		"10.1.0.5":         "shop/order", // a client
		"192.0.2.1:8088":   "shop/order",
		"10.1.0.6:5432":    "shop/orders-db",
		"[fd00::6]:5432":   "shop/orders-db",
		"10.1.1.7":         "jobs/report",
		"10.1.1.9":         "ci/migrate",
		"10.1.1.10":        "shop/debug",
		"10.1.1.8:22":      "/", // a pod without an owner or a label
		"10.96.0.1:443":    "default/kubernetes",
		"10.96.0.10:80":    "shop/order",
		"[fd96::a]:80":     "shop/order",
		"198.51.100.1:80":  "shop/order",
		"203.0.113.5:443":  "shop/order",
		"192.0.2.1:9100":   "kube-system/node-exporter",
		"192.0.2.2:9101":   "kube-system/kube-proxy",
		"192.0.2.1:7777":   "/", // both say that they have it
		"192.0.2.1:2379":   "kube-system/etcd",
		"192.0.2.1:30080":  "shop/order",
		"192.0.2.99:30080": "/", // no node
		"192.0.2.1":        "/",
		"192.0.2.1:22":     "/",
		"10.2.3.4:5432":    "shop/legacy-db",
		"10.2.3.4:22":      "/",
		"10.1.0.99:8080":   "/", // its pod would say
	} {
		if got := f.named(at); got != want {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
	attributes := func(uid string) map[string]string {
		got := map[string]string{}
		f.Pod(uid, func(k, v string) { got[k] = v })
		return got
	}
	if d := cmp.Diff(map[string]string{"k8s.pod.name": "db-0", "k8s.namespace.name": "shop", "k8s.statefulset.name": "db"}, attributes(db.At("metadata", "uid"))); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if got := attributes(cron.At("metadata", "uid"))["k8s.cronjob.name"]; got != "report" {
		t.Errorf("cron job %q", got)
	}
	if d := cmp.Diff(map[string]string{"k8s.pod.name": "etcd-n1", "k8s.namespace.name": "kube-system"}, attributes(etcdUID)); d != "" {
		t.Errorf("attributes of a static pod by the uid on its node (-want +got):\n%s", d)
	}
	if len(attributes("none")) != 0 {
		t.Error("a pod that is not there has attributes")
	}
	if got := f.asked("/api/v1/pods?", "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed", "resourceVersion=0"); len(got) != 1 {
		t.Errorf("asked %q", f.asked())
	}
}

// Pods come, move, go and come again under the same name.
func changes(t *testing.T, s *kubeapi.Server) {
	f := followServer(t, s)
	s.Create("/apis/apps/v1/namespaces/shop/statefulsets", kubeapi.Parse(t, `{"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
		"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}`))
	web := podsOf(t, s, "shop", "app=web", 1)[0]
	runs(s, web, "n1", "192.0.2.1", "10.4.0.1")
	f.is(t, "10.4.0.1", "shop/web")
	runs(s, web, "n1", "192.0.2.1", "10.4.0.2") // its sandbox was made anew
	f.is(t, "10.4.0.2", "shop/web")
	f.is(t, "10.4.0.1", "/")

	path := "/api/v1/namespaces/shop/pods/web-0"
	if _, err := s.Do(http.MethodDelete, path, nil); err != nil { // it has half a minute to end, with its address
		t.Fatal(err)
	}
	barePod(t, s, "shop", "other", "10.4.0.3")
	f.is(t, "10.4.0.3", "shop/other") // so the change before is seen too
	f.is(t, "10.4.0.2", "shop/web")
	barePod(t, s, "shop", "heir", "10.4.0.2") // gets the address before the other's end was told
	f.is(t, "10.4.0.2", "shop/heir")
	s.Delete(path)
	var again kubeapi.Object
	eventually(t, func() string { return "another web-0" }, func() bool {
		for _, again = range s.Get("/api/v1/namespaces/shop/pods?labelSelector=app=web").Items() {
			return again.At("metadata", "uid") != web.At("metadata", "uid")
		}
		return false
	})
	runs(s, again, "n1", "192.0.2.1", "10.4.0.4")
	f.is(t, "10.4.0.4", "shop/web")
	f.is(t, "10.4.0.2", "shop/heir")
	f.Pod(web.At("metadata", "uid"), func(k, v string) { t.Errorf("the first web-0 still has %s", k) })

	// A manifest changes, so the kubelet mirrors a pod with another uid under the same name.
	const newUID = "9b6cd1d6e1a2b3c4d5e6f70812345678"
	s.Delete("/api/v1/namespaces/kube-system/pods/etcd-n1")
	mirrorPod(t, s, "etcd", newUID, 2381)
	f.is(t, "192.0.2.1:2381", "kube-system/etcd")
	name := ""
	f.Pod(newUID, func(k, v string) { name += k + "=" + v + " " })
	f.Pod(etcdUID, func(k, v string) { t.Errorf("the etcd before still has %s=%s", k, v) })
	if name != "k8s.pod.name=etcd-n1 k8s.namespace.name=kube-system " {
		t.Errorf("the new etcd is %q", name)
	}

	s.Patch("/api/v1/namespaces/shop/pods/other/status", kubeapi.Object{"status": kubeapi.Object{"phase": "Succeeded"}})
	f.is(t, "10.4.0.3", "/") // ended, and not deleted

	service := "/api/v1/namespaces/shop/services"
	s.Create(service, kubeapi.Parse(t, `{"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.4.1", "ports": [{"port": 80}]}}`))
	f.is(t, "10.96.4.1:80", "shop/web")
	s.Patch(service+"/web", kubeapi.Parse(t, `{"spec": {"type": "ExternalName", "externalName": "web.example", "clusterIP": null, "clusterIPs": null}}`))
	f.is(t, "10.96.4.1:80", "/")
	if got := f.asked("limit="); len(got) != 0 {
		t.Errorf("listed anew: %q", got)
	}
}

// The guide's role is enough, and all of it is needed.
func rights(t *testing.T, s *kubeapi.Server) {
	role := s.Get(roles + "/" + agent)
	rules := role["rules"]
	defer func() { s.Patch(roles+"/"+agent, kubeapi.Object{"rules": rules}) }()
	allow := func(pods, services, slices []string) {
		rule := func(group, resource string, verbs []string) kubeapi.Object {
			return kubeapi.Object{"apiGroups": []string{group}, "resources": []string{resource}, "verbs": append([]string{"get"}, verbs...)}
		}
		s.Patch(roles+"/"+agent, kubeapi.Object{"rules": []kubeapi.Object{rule("", "pods", pods), rule("", "services", services), rule("discovery.k8s.io", "endpointslices", slices)}})
	}
	both := []string{"list", "watch"}
	f := followWith(t, s.Kubeconfig(s.URL(), kubeapi.Object{"token": s.Token(agentsIn, agent)}), pace{2 * time.Second, soon.pause}, nil)
	f.works(t)
	for _, lacks := range []struct {
		what                   string
		pods, services, slices []string
		want                   Refusal
	}{
		{"watch of pods", []string{"list"}, both, both, Refusal{Verb: "watch", Resource: "pods"}},
		{"watch of services", both, []string{"list"}, both, Refusal{Verb: "watch", Resource: "services"}},
		{"watch of endpointslices.discovery.k8s.io", both, both, []string{"list"}, Refusal{Verb: "watch", Resource: "endpointslices.discovery.k8s.io"}},
	} {
		allow(lacks.pods, lacks.services, lacks.slices)
		var got *Refusal
		eventually(t, func() string { return fmt.Sprint("a refusal for want of ", lacks.what, ": ", f.Err()) }, func() bool { return errors.As(f.Err(), &got) })
		if got.Code != http.StatusForbidden || got.Verb != lacks.want.Verb || got.Resource != lacks.want.Resource {
			t.Errorf("without %s: %+v", lacks.what, got)
		}
		for _, want := range []string{"follow " + strings.Split(lacks.want.Resource, ".")[0] + ": watch: ", "system:serviceaccount:observability:guanlan-agent", "allow " + lacks.what} {
			if !strings.Contains(f.Err().Error(), want) {
				t.Errorf("without %s: %q is not in %q", lacks.what, want, f.Err())
			}
		}
		if strings.Count(f.Err().Error(), "follow ") != 1 {
			t.Errorf("without %s: %v", lacks.what, f.Err())
		}
		f.is(t, "10.1.0.5", "shop/order") // what is known stays known
		allow(both, both, both)
		f.works(t)
	}
	allow(nil, both, both)
	f = followWith(t, s.Kubeconfig(s.URL(), kubeapi.Object{"token": s.Token(agentsIn, agent)}), soon, nil)
	<-f.Tried()
	var got *Refusal
	if !errors.As(f.Err(), &got) || got.Verb != "list" || got.Resource != "pods" || got.Missing() != "leave to list pods" {
		t.Errorf("without list of pods: %v", f.Err())
	}
	f.is(t, "10.96.0.10:80", "shop/order")
	f.is(t, "10.1.0.5", "/")
	allow(both, both, both)
	f.works(t)
	f.is(t, "10.1.0.5", "shop/order")
}

// A watch that sees no change goes on from where the server is by now.
func bookmarks(t *testing.T, s *kubeapi.Server) {
	f := followWith(t, s.Kubeconfig(s.URL(), kubeapi.Object{"token": s.Token(agentsIn, agent)}), pace{3 * time.Second, soon.pause}, nil)
	f.works(t)
	made := s.Create("/api/v1/namespaces/shop/configmaps", kubeapi.Object{"metadata": kubeapi.Object{"name": "elsewhere"}})
	at, _ := strconv.Atoi(made.At("metadata", "resourceVersion"))
	watched := func(q string) int {
		_, v, _ := strings.Cut(q, "resourceVersion=")
		v, _, _ = strings.Cut(v, "&")
		n, _ := strconv.Atoi(v)
		return n
	}
	for _, kind := range []string{"/api/v1/services?", "/endpointslices?"} {
		eventually(t, func() string { return fmt.Sprintf("a watch from %d: %q", at, f.asked(kind)) }, func() bool {
			return slices.ContainsFunc(f.asked(kind, "watch=1"), func(q string) bool { return watched(q) >= at })
		})
		if n := len(f.asked(kind, "resourceVersion=0")) + len(f.asked(kind, "limit=")); n != 1 {
			t.Errorf("%d lists, want 1: %q", n, f.asked(kind))
		}
	}
}

// The server is killed and started again with what it had, while pods go and come that
// the Cluster cannot see.
func restart(t *testing.T, s *kubeapi.Server) {
	l := newLink(t, s)
	var mu sync.Mutex
	tries, down := 0, false
	p := pace{watchFor, func(ctx context.Context, failed int) {
		mu.Lock()
		if down {
			tries++
		}
		mu.Unlock()
		pause(ctx, failed)
	}}
	f := followWith(t, s.Kubeconfig(l.url(), kubeapi.Object{"token": s.Token(agentsIn, agent)}), p, nil)
	f.works(t)
	barePod(t, s, "shop", "leaves", "10.5.0.1")
	barePod(t, s, "shop", "stays", "10.5.0.2")
	f.is(t, "10.5.0.1", "shop/leaves")
	f.is(t, "10.5.0.2", "shop/stays")

	mu.Lock()
	down = true
	mu.Unlock()
	began := time.Now()
	l.set(cut)
	s.Delete("/api/v1/namespaces/shop/pods/leaves")
	var wait sync.WaitGroup
	const many = 2*page + 100
	each := make(chan int)
	for range 8 {
		wait.Go(func() {
			for i := range each {
				path := "/api/v1/namespaces/shop/pods"
				name := fmt.Sprintf("many-%d", i)
				ip := fmt.Sprintf("10.6.%d.%d", i>>8, i&255)
				_, err := s.Do(http.MethodPost, path, kubeapi.Parse(t, `{"metadata": {"name": %q, "labels": {"app": "many"}}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}}`, name))
				if err == nil {
					_, err = s.Do(http.MethodPatch, path+"/"+name+"/status", kubeapi.Parse(t, `{"status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": %q, "podIPs": [{"ip": %q}]}}`, ip, ip))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range many {
		each <- i
	}
	close(each)
	wait.Wait()
	eventually(t, func() string { return fmt.Sprint("all kinds fail: ", f.Err()) }, func() bool {
		err := f.Err()
		return err != nil && strings.Count(err.Error(), "follow ") == len(f.kinds)
	})
	f.is(t, "10.5.0.1", "shop/leaves") // what is known stays known
	s.Restart()
	barePod(t, s, "shop", "comes", "10.5.0.3")
	mu.Lock()
	tried, took := tries, time.Since(began)
	down = false
	mu.Unlock()
	l.set(through)

	f.is(t, "10.5.0.3", "shop/comes")
	f.is(t, "10.5.0.2", "shop/stays")
	f.is(t, "10.5.0.1", "/")
	f.works(t)
	for i := range many {
		if at := fmt.Sprintf("10.6.%d.%d", i>>8, i&255); f.named(at) != "shop/many" {
			t.Fatalf("%s is %q", at, f.named(at))
		}
	}
	if pages := f.asked("/api/v1/pods?", "limit=500"); len(pages) < 3 || len(f.asked("/api/v1/pods?", "continue=")) < 2 {
		t.Errorf("%d pods in pages %q", many, pages)
	}
	// Pauses are at least an eighth, a quarter, half a second and so on up to 15 s.
	most := 0
	for d := pauseFirst / 2; d < took; d += min(pauseFirst<<most, pauseMost) / 2 {
		most++
	}
	if most = (most + 1) * len(f.kinds); tried > most {
		t.Errorf("%d tries in %s, want at most %d", tried, took, most)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := strings.Count(f.log.String(), "\n"); n > 5*len(f.kinds) {
		t.Errorf("%d lines of log for %d tries:\n%s", n, tried, &f.log)
	}
	t.Logf("%s without the server: %d tries of at most %d", took, tried, most)
}

// etcd forgets versions while a Cluster is away and while it reads a list page by page. Without
// the cache of the API server it is etcd that answers.
func compaction(t *testing.T, s *kubeapi.Server) {
	s.Restart("--watch-cache=false", "--etcd-compaction-interval=500ms")
	forget := func() { // until what is the newest version now is forgotten
		next := s.Get("/api/v1/pods?limit=1")["metadata"].(map[string]any)["continue"].(string)
		eventually(t, func() string { return "etcd compacts" }, func() bool {
			s.Patch("/api/v1/namespaces/shop/configmaps/elsewhere", kubeapi.Object{"data": kubeapi.Object{"now": time.Now().String()}})
			_, err := s.Do(http.MethodGet, "/api/v1/pods?limit=1&continue="+next, nil)
			return err != nil && strings.Contains(err.Error(), " 410 Gone")
		})
	}
	l := newLink(t, s)
	forgets := sync.OnceFunc(forget)
	f := followWith(t, s.Kubeconfig(l.url(), kubeapi.Object{"token": s.Token(agentsIn, agent)}), soon, func(r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "continue=") {
			forgets()
		}
	})
	f.works(t)
	f.is(t, "10.5.0.2", "shop/stays")

	l.set(cut)
	s.Delete("/api/v1/namespaces/shop/pods/stays")
	barePod(t, s, "shop", "late", "10.7.0.1")
	forget()
	l.set(through)
	f.is(t, "10.7.0.1", "shop/late")
	f.is(t, "10.5.0.2", "/")
	f.works(t)
	whole := slices.DeleteFunc(f.asked("/api/v1/pods?"), func(q string) bool {
		return strings.Contains(q, "limit=") || strings.Contains(q, "resourceVersion=")
	})
	if len(f.asked("/api/v1/pods?", "limit=500", "continue=")) == 0 || len(whole) == 0 {
		t.Errorf("want a page that is gone, and then a list without pages: %q", f.asked("/api/v1/pods?"))
	}
}
