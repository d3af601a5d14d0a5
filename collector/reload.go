package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/otelcol"

	"github.com/guanlan-io/guanlan/collector/kernelreceiver"
)

// Reloader makes one running collector (Options.Reloader) read its configuration
// again. The collector's frame stops all components and starts them with what it finds, and
// ends where that is wrong. So the configuration is checked first; and what
// watches the kernel goes on meanwhile and is changed, not restarted. The zero value works.
type Reloader struct {
	kept kernelreceiver.Kept

	mu     sync.Mutex
	begun  int // how often components were made
	change confmap.WatcherFunc
}

const (
	// reloadPoll is how often the collector is asked whether it runs again: nothing tells.
	reloadPoll = 10 * time.Millisecond
	// reloadWithin bounds the wait: stores write out what they hold.
	reloadWithin = time.Minute
)

// Reload returns when the collector runs with what Options.URIs say now. With an
// error it goes on with what it had, unless the error is of the restart itself: that
// ends the collector.
func (r *Reloader) Reload(ctx context.Context, col *otelcol.Collector, o Options) error {
	o.Reloader, o.Ready, o.Watching = nil, nil, nil
	trial, err := otelcol.NewCollector(Settings(o))
	if err == nil {
		err = trial.DryRun(ctx)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	change, begun := r.change, r.begun
	r.mu.Unlock()
	if change == nil || col.GetState() != otelcol.StateRunning {
		return errors.New("read the configuration again: the collector does not run")
	}
	r.kept.Hold()
	change(&confmap.ChangeEvent{})
	err = r.wait(ctx, col, begun)
	return errors.Join(err, r.kept.Release())
}

func (r *Reloader) wait(ctx context.Context, col *otelcol.Collector, begun int) error {
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	deadline := time.After(reloadWithin)
	for {
		r.mu.Lock()
		again := r.begun != begun
		r.mu.Unlock()
		switch state := col.GetState(); {
		case state == otelcol.StateClosed:
			return errors.New("read the configuration again: the collector ended")
		case again && state == otelcol.StateRunning:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("read the configuration again: not done after %v", reloadWithin)
		}
	}
}

// begin is called when components are made.
func (r *Reloader) begin() *kernelreceiver.Kept {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun++
	return &r.kept
}

// reloadScheme is of a location without content, which is there to be told to have changed.
const reloadScheme = "reload"

// watched provides it.
type watched struct{ r *Reloader }

func (w watched) Retrieve(_ context.Context, _ string, change confmap.WatcherFunc) (*confmap.Retrieved, error) {
	if w.r != nil {
		w.r.mu.Lock()
		w.r.change = change
		w.r.mu.Unlock()
	}
	return confmap.NewRetrieved(map[string]any{})
}

func (watched) Scheme() string                 { return reloadScheme }
func (watched) Shutdown(context.Context) error { return nil }
