//go:build unix

// Command demo starts Guanlan and the shop on this machine, waits until the
// first traces can be looked at, and says where.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long everything may take to start and to be seen. A minute is
// promised; the rest is for printing and stopping.
const patience = 55 * time.Second

// overlay is merged over Guanlan's own configuration.
//
//go:embed demo.yaml
var overlay []byte

func main() {
	// Linux ends the children together with the thread that started them; the
	// main thread lives as long as the process.
	runtime.LockOSThread()

	d := demo{}
	flag.StringVar(&d.guanlan, "guanlan", beside("guanlan"), "`path` of the guanlan binary")
	flag.StringVar(&d.data, "data", "guanlan-data/demo", "`folder` for data and logs")
	flag.StringVar(&d.shop, "shop", beside("shop"), "`path` of the shop binary")
	flag.IntVar(&d.port, "port", 24380, "first of the six `port`s that the shop listens on")
	flag.BoolVar(&d.kernel, "kernel", true, "watch the kernel as well, where this user may")
	flag.BoolVar(&d.once, "once", false, "check that everything arrives, then stop")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := d.run(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// beside returns the path of a binary in the folder of this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// demo is the command line.
type demo struct {
	guanlan, shop, data string
	port                int
	once, kernel        bool
}

// run starts everything and returns once all of it has ended.
func (d *demo) run() error {
	stops := make(chan os.Signal, 2)
	signal.Notify(stops, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	if err := d.prepare(); err != nil {
		return err
	}
	guanlan, shop := guanlanAddrs(), shopAddrs(d.port)
	if err := free(append(guanlan.list(), shop...)); err != nil {
		return err
	}

	procs := newProcesses(filepath.Join(d.data, "logs"))
	defer func() {
		fmt.Println("\nStopping; once more Ctrl-C to stop at once.")
		procs.stop(stops)
	}()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fmt.Println("Starting Guanlan and the shop…")
	if err := d.start(ctx, procs, guanlan, shop, stops); err != nil {
		return err
	}
	fmt.Println("Waiting for the first traces…")
	seen, err := look(ctx, procs, guanlan.http, stops)
	if err != nil {
		return err
	}
	seen.print(os.Stdout, time.Since(began), d.data)
	if d.once {
		if missing := seen.missing(); len(missing) > 0 {
			return fmt.Errorf("not seen within %s: %s", patience, strings.Join(missing, ", "))
		}
		return nil
	}
	fmt.Println("  Ctrl-C stops everything.")
	select {
	case <-stops:
		return nil
	case p := <-procs.ended:
		return p.obituary()
	}
}

var errStopped = errors.New("stopped before everything was up")

func (d *demo) prepare() error {
	for _, binary := range []string{d.guanlan, d.shop} {
		if _, err := os.Stat(binary); err != nil {
			return fmt.Errorf("find binary: %w\n  → build it first, see examples/shop/README.md", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(d.data, "logs"), 0o755); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	if err := os.WriteFile(d.path("demo.yaml"), overlay, 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	// The file reader is to read this run's lines, not those of the last.
	if err := os.Remove(d.path("access.log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old access log: %w", err)
	}
	return nil
}

func (d *demo) path(name string) string { return filepath.Join(d.data, name) }

// start starts Guanlan, waits until it takes telemetry, then starts the shop
// in the order of who is needed first.
func (d *demo) start(ctx context.Context, procs *processes, guanlan endpoints, shop []endpoint, stops <-chan os.Signal) error {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OTEL_") })
	var flags []string
	for _, e := range shop {
		flags = append(flags, "-"+e.name+"="+e.addr)
	}
	flags = append(flags, "-access-log="+d.path("access.log"), "-database="+d.path("shop.db"), "-stocktake=10s")

	up := []string{"up", "--config", "guanlan:default", "--config", d.path("demo.yaml"), "--data", d.path("data")}
	switch why := noKernel(); {
	case !d.kernel:
	case why != "":
		fmt.Println("Connections, OOM kills, audit and profiles are left out: " + why + ".")
	default:
		up = append(up, "--kernel") // what it cannot do here is in its log, and the rest runs
	}
	if err := procs.start("guanlan", append(env, "SHOP_METRICS="+shop[len(shop)-1].addr, "SHOP_ACCESS_LOG="+d.path("access.log")),
		d.guanlan, up...); err != nil {
		return err
	}
	if err := procs.listening(ctx, guanlan.list(), stops); err != nil {
		return err
	}
	// Everything is kept, as there is little of it; try another policy with
	// guanlan sampling set.
	if err := (&api{base: "http://" + guanlan.http}).put(ctx, "/guanlan/v1/sampling/policies/default", map[string]any{"base": 1}); err != nil {
		return err
	}
	env = append(env,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://"+guanlan.otlpHTTP, "GUANLAN_ENDPOINT=http://"+guanlan.http,
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=demo",
		"OTEL_METRIC_EXPORT_INTERVAL=5000") // 15 s are long to look at
	for _, service := range []string{"cache", "payment", "inventory", "order", "gateway"} {
		if err := procs.start(service, append(slices.Clip(env), "OTEL_SERVICE_NAME="+service), d.shop, append([]string{service}, flags...)...); err != nil {
			return err
		}
	}
	if err := procs.listening(ctx, shop, stops); err != nil {
		return err
	}
	return procs.start("load", append(slices.Clip(env), "OTEL_SERVICE_NAME=load"), d.shop, append([]string{"load"}, flags...)...)
}

// noKernel says why the kernel is not watched, "" if it is.
func noKernel() string {
	switch {
	case runtime.GOOS != "linux":
		return "they take Linux"
	case os.Geteuid() != 0:
		return "they take root, or capabilities (see bin/guanlan agent check)"
	}
	return ""
}

// endpoint is a listening address and who is to listen there.
type endpoint struct{ name, addr string }

// endpoints are Guanlan's, as its own variables set them.
type endpoints struct{ http, otlpGRPC, otlpHTTP string }

func guanlanAddrs() endpoints {
	get := func(name, otherwise string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	return endpoints{
		http:     get("GUANLAN_ENDPOINT", "127.0.0.1:4390"),
		otlpGRPC: get("GUANLAN_OTLP_GRPC", "127.0.0.1:4317"),
		otlpHTTP: get("GUANLAN_OTLP_HTTP", "127.0.0.1:4318"),
	}
}

func (e endpoints) list() []endpoint {
	return []endpoint{{"GUANLAN_ENDPOINT", e.http}, {"GUANLAN_OTLP_GRPC", e.otlpGRPC}, {"GUANLAN_OTLP_HTTP", e.otlpHTTP}}
}

// shopAddrs gives each of the shop's listeners a port; names are its flags.
func shopAddrs(first int) []endpoint {
	var list []endpoint
	for i, name := range []string{"gateway", "order", "inventory", "payment", "cache", "cache-metrics"} {
		list = append(list, endpoint{name, fmt.Sprintf("127.0.0.1:%d", first+i)})
	}
	return list
}

// free fails when something listens already where the demo is to.
func free(all []endpoint) error {
	var taken strings.Builder
	for _, e := range all {
		l, err := net.Listen("tcp", e.addr)
		switch {
		case err == nil:
			l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			fmt.Fprintf(&taken, "\n  %s (%s)", e.addr, e.name)
		default:
			return err
		}
	}
	if taken.Len() == 0 {
		return nil
	}
	return fmt.Errorf("these addresses are in use:%s\n  → stop what listens there (another demo, another Guanlan?), or choose others:\n"+
		"    for the shop with -port, for Guanlan with the variables named", &taken)
}
