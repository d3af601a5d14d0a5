package kernelreceiver

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/collector/component"
)

// Kept is what outlives the pipelines while a collector reads its configuration
// again: an instance that stops leaves there what watches the kernel, and the next
// one of that name takes it, so that nothing is missed. The zero value works.
type Kept struct {
	mu      sync.Mutex
	holds   bool
	watches map[component.ID]watch
}

// Hold makes instances that stop leave what they have.
func (k *Kept) Hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holds = true
	k.watches = map[component.ID]watch{}
}

// Release ends Hold and stops what nobody took.
func (k *Kept) Release() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holds = false
	var errs []error
	for _, w := range k.watches {
		errs = append(errs, w.Close(ended()))
	}
	clear(k.watches)
	return errors.Join(errs...)
}

// ended is for a watch whose pipelines are gone: what it has left finds nobody.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// put reports whether the watch was left; it hands nothing over after that.
func (k *Kept) put(id component.ID, w watch) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.holds {
		return false
	}
	w.Hold()
	k.watches[id] = w
	return true
}

// take returns nil if there is none.
func (k *Kept) take(id component.ID) watch {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.watches[id]
	delete(k.watches, id)
	return w
}
