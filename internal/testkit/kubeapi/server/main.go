// Server is a Kubernetes cluster without nodes, to test with: kube-apiserver, the etcd that
// it keeps its objects in, and the controllers that make pods of deployments and so on, as
// one process. There is no scheduler and no kubelet: what those would write, tests write.
//
//	server DIR HOST:PORT [flags of kube-apiserver]
//
// It listens at HOST:PORT, which is a loopback address, and at sockets in DIR, where it
// keeps all it has. Started again there it goes on with the same objects and keys. In DIR
// are ca.crt and ca.key; admin.crt and admin.key of who may do all; sa.key, which signs the
// tokens of service accounts. It ends with SIGTERM or with its standard input, so that it
// does not outlive who started it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/statefulset"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: server DIR HOST:PORT [flags of kube-apiserver]")
		os.Exit(2)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	code, err := serve(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
	}
	os.Exit(code)
}

// serve runs until SIGTERM, whose handler is kube-apiserver's.
func serve(dir, listen string, flags []string) (code int, err error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return 2, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if _, err := os.Stat(in("made")); errors.Is(err, fs.ErrNotExist) {
		if err := makeKeys(in, net.ParseIP(host)); err != nil {
			return 1, fmt.Errorf("make keys: %w", err)
		}
	}
	store, err := startEtcd(in)
	if err != nil {
		return 1, fmt.Errorf("start etcd: %w", err)
	}
	defer store.Close()
	cmd := app.NewAPIServerCommand()
	if err := startControllers(cmd.Context(), &rest.Config{Host: "https://" + listen, QPS: -1, // no limit
		TLSClientConfig: rest.TLSClientConfig{CAFile: in("ca.crt"), CertFile: in("admin.crt"), KeyFile: in("admin.key")}}); err != nil {
		return 1, fmt.Errorf("start controllers: %w", err)
	}
	cmd.SetArgs(append([]string{
		"--etcd-servers=unix://" + in("etcd.sock"),
		"--bind-address=" + host, "--secure-port=" + port, "--cert-dir=" + dir,
		"--tls-cert-file=" + in("server.crt"), "--tls-private-key-file=" + in("server.key"), "--client-ca-file=" + in("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + in("sa.key"), "--service-account-signing-key-file=" + in("sa.key"),
		"--authorization-mode=RBAC",
		// Pods need none, and who would make the default one of a namespace is not here.
		"--disable-admission-plugins=ServiceAccount",
		"--service-cluster-ip-range=10.96.0.0/16,fd96::/112",
		// An endpoint may not be a loopback address, as this server's is.
		"--endpoint-reconciler-type=none",
	}, flags...))
	return cli.Run(cmd), nil
}

// startEtcd does not wait for the disk: what a kill of the process leaves is enough.
func startEtcd(in func(string) string) (*embed.Etcd, error) {
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.UnsafeNoFsync = in("etcd"), "error", true
	socket := func(name string) []url.URL {
		_ = os.Remove(in(name)) // of a process that was killed
		return []url.URL{{Scheme: "unix", Path: in(name)}}
	}
	c.ListenClientUrls, c.ListenPeerUrls = socket("etcd.sock"), socket("peer.sock")
	c.WatchProgressNotifyInterval = time.Second // what bookmarks come from; usual are 5 s
	// Nobody asks at the addresses that it advertises, which are the usual ones.
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err := <-e.Err():
		return nil, cmp.Or(err, errors.New("it ended"))
	}
}

// startControllers starts those that make pods, and slices of services' endpoints.
func startControllers(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(client, 0)
	apps, batch, core := f.Apps().V1(), f.Batch().V1(), f.Core().V1()
	deployments, e1 := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), core.Pods(), client)
	daemons, e2 := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), client,
		flowcontrol.NewBackOff(time.Second, time.Minute))
	jobs, e3 := job.NewController(ctx, client, core.Pods(), batch.Jobs(), nil, nil)
	crons, e4 := cronjob.NewControllerV2(ctx, batch.Jobs(), batch.CronJobs(), client)
	if err := errors.Join(e1, e2, e3, e4); err != nil {
		return err
	}
	const workers, perSlice, batchFor = 1, 100, 100 * time.Millisecond
	for _, run := range []func(context.Context, int){
		deployments.Run, daemons.Run, jobs.Run, crons.Run,
		replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), core.Pods(), client, replicaset.BurstReplicas).Run,
		statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), client).Run,
		endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), f.Discovery().V1().EndpointSlices(), perSlice, client, batchFor).Run,
	} {
		go run(ctx, workers)
	}
	f.Start(ctx.Done())
	return nil
}
