// Package kube knows who has an address in a Kubernetes cluster: which workload,
// which service, which pod.
//
// A Cluster lists pods, services and endpoint slices of all nodes once and then
// follows their changes. It keeps of each only what names and finds it, some 400
// bytes, so objects are decoded one by one as they come over the wire, into what
// is needed of them. client-go is used for what is hard to get right otherwise:
// kubeconfig files, service accounts whose tokens change, TLS.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ErrNoCluster is Open's answer outside of a cluster without a kubeconfig.
var ErrNoCluster = errors.New("not in a Kubernetes cluster")

// Options of Open.
type Options struct {
	// Kubeconfig is a file with the cluster and credentials. "": those of the pod's
	// service account.
	Kubeconfig string
	// UserAgent is how the API server knows this process; default client-go's.
	UserAgent string
	Logger    *slog.Logger // default: none
}

// Cluster follows a cluster. Its methods may be called from several goroutines.
type Cluster struct {
	client *http.Client
	base   *url.URL
	log    *slog.Logger
	pace   pace

	index   index
	kinds   []*kind
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	errors map[string]error    // of the last try, by kind
	told   map[string][]string // errors in the log since the kind was followed last
	first  map[string]bool     // kinds that were not tried yet
	tried  chan struct{}       // closed when there are none
}

// Open begins to follow a cluster. It does not wait for it: until it answers
// nobody has a name.
func Open(o Options) (*Cluster, error) {
	client, base, err := connect(o)
	if err != nil {
		return nil, err
	}
	return follow(client, base, o.Logger, pace{watchFor, pause}), nil
}

func connect(o Options) (*http.Client, *url.URL, error) {
	// Without a file these are the credentials of the pod, or there are none.
	find := rest.InClusterConfig
	if o.Kubeconfig != "" {
		find = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", o.Kubeconfig) }
	}
	config, err := find()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, nil, ErrNoCluster
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find credentials of the cluster: %w", err)
	}
	if o.UserAgent != "" {
		config.UserAgent = o.UserAgent
	}
	config.Timeout = 0 // watches are bounded one by one
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("read credentials of the cluster: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("read the cluster's address %q: %w", config.Host, err)
	}
	return client, base, nil
}

// pace is what a test cannot wait for.
type pace struct {
	watch time.Duration              // how long a watch lasts, and at most twice that
	pause func(context.Context, int) // after so many tries that failed
}

func follow(client *http.Client, base *url.URL, log *slog.Logger, p pace) *Cluster {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{client: client, base: base, log: log, pace: p, index: newIndex(),
		errors: map[string]error{}, told: map[string][]string{}, first: map[string]bool{}, tried: make(chan struct{})}
	c.kinds = []*kind{
		// Pods that ended have given their addresses back.
		{name: "pods", path: "/api/v1/pods", query: "status.phase!=Succeeded,status.phase!=Failed", read: readPod},
		{name: "services", path: "/api/v1/services", read: readService},
		{name: "endpointslices", path: "/apis/discovery.k8s.io/v1/endpointslices", read: readSlice},
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, k := range c.kinds {
		c.errors[k.name], c.first[k.name] = errors.New("not listed yet"), true
	}
	for _, k := range c.kinds {
		c.running.Go(func() { c.run(ctx, k) })
	}
	return c
}

// Close stops following. What is known stays known.
func (c *Cluster) Close() {
	c.stop()
	c.running.Wait()
	c.client.CloseIdleConnections()
}

// Tried is closed when all kinds of objects were listed, or were tried to be.
func (c *Cluster) Tried() <-chan struct{} { return c.tried }

// Err is nil when all kinds of objects were listed and are followed, else why not.
func (c *Cluster) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []error
	for _, k := range c.kinds {
		if err := c.errors[k.name]; err != nil {
			all = append(all, fmt.Errorf("follow %s: %w", k.name, err))
		}
	}
	return errors.Join(all...)
}

// maxTold bounds the errors of one time of trouble that the log has.
const maxTold = 8

// note keeps how a kind fares and logs what is new.
func (c *Cluster) note(k *kind, err error) {
	c.mu.Lock()
	c.errors[k.name] = err
	news := false
	if told := c.told[k.name]; err == nil {
		c.told[k.name] = nil
	} else if news = len(told) < maxTold && !slices.Contains(told, err.Error()); news {
		c.told[k.name] = append(told, err.Error())
	}
	if c.first[k.name] {
		if delete(c.first, k.name); len(c.first) == 0 {
			close(c.tried)
		}
	}
	c.mu.Unlock()
	if news {
		c.log.Warn("follow the cluster", "objects", k.name, "error", err)
	}
}

func (c *Cluster) url(k *kind, query url.Values) string {
	u := *c.base
	u.Path = path.Join(u.Path, k.path)
	if k.query != "" {
		query.Set("fieldSelector", k.query)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

const pauseFirst, pauseMost = 250 * time.Millisecond, 30 * time.Second
