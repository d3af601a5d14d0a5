//go:build guanlan_woven

package sdk

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"guanlan/hook"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// provisional is the SDK that StartProvisional has started; nil after it gave way.
var provisional atomic.Pointer[provisionalSDK]

type provisionalSDK struct {
	*SDK
	once   sync.Once // of publishing
	before globals
}

// StartProvisional starts the SDK for a program that does not do so, before
// anything of the program runs. If the program starts one all the same, that takes
// over.
//
// It becomes OpenTelemetry's global SDK a little later, unless the program has its
// own by then: what asked OpenTelemetry for a tracer or a meter early gets it of the
// first SDK that says it is the global one, for good.
func StartProvisional(ctx context.Context, opts Options) (*SDK, error) {
	p := &provisionalSDK{before: presentGlobals()}
	var err error
	if p.SDK, err = launch(ctx, opts, true); !p.enabled {
		return p.SDK, err
	}
	if !running.CompareAndSwap(nil, p.SDK) {
		return running.Load(), errors.Join(err, p.Shutdown(ctx))
	}
	provisional.Store(p)
	time.AfterFunc(untilPublished, p.publishOnce)
	return p.SDK, err
}

const (
	// untilPublished is how long a program has to start an SDK of its own at
	// most. One that serves requests has done so.
	untilPublished = time.Second
	// untilRetired is how long what was under way when another SDK took over may
	// still be told of: requests take seconds.
	untilRetired = time.Minute
	// retiring bounds the sending of what there is.
	retiring = 10 * time.Second
)

// publishOnce makes the provisional SDK the global one, where the program has
// none.
func (p *provisionalSDK) publishOnce() {
	p.once.Do(func() {
		if provisional.Load() != p || running.Load() != p.SDK {
			return
		}
		p.before.replaceBy(p.SDK)
	})
}

// giveWay ends s, if it is provisional, when another SDK has taken over: at once
// what it counts, for the other counts the same; a while later what it has under
// way.
func (s *SDK) giveWay() {
	p := provisional.Load()
	if p == nil || p.SDK != s || !provisional.CompareAndSwap(p, nil) {
		return
	}
	leaving.Store(s)
	s.stop()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), retiring)
		defer cancel()
		_ = s.sendAll(ctx, s.pipe.Flush, s.logs.Flush, s.sendLastMetrics)
		time.Sleep(untilRetired)
		ctx, cancel = context.WithTimeout(context.Background(), retiring)
		defer cancel()
		_ = s.Shutdown(ctx)
		leaving.CompareAndSwap(s, nil)
	}()
}

// leaving is the one that gave way and still has something under way.
var leaving atomic.Pointer[SDK]

// lastWord bounds the flush at the end of the process unless GUANLAN_EXIT_TIMEOUT,
// in milliseconds, does: a receiver that does not answer must not keep a process
// from ending.
const lastWord = 2 * time.Second

var atExit sync.Once

// flushAtExit has what was recorded last sent when main returns or os.Exit is
// called, also by programs that start their SDK themselves.
func flushAtExit() {
	atExit.Do(func() {
		hook.AtExit(func() {
			core.Exiting()
			LastFlush()
		})
	})
}

// LastFlush flushes the SDK that runs and the one that gave way to it, before the
// process ends.
func LastFlush() {
	limit := lastWord
	if ms, err := strconv.Atoi(os.Getenv("GUANLAN_EXIT_TIMEOUT")); err == nil && ms >= 0 {
		limit = time.Duration(ms) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var all []func() error
	for _, s := range []*SDK{Default(), leaving.Load()} {
		if s != nil {
			all = append(all, func() error { return s.Flush(ctx) })
		}
	}
	_ = together(all...) // what failed is counted, and nobody can do anything about it now
}
