package queryextension

import (
	"log/slog"

	"github.com/guanlan-io/guanlan/collector/storeextension"
	"github.com/guanlan-io/guanlan/internal/api"
	"github.com/guanlan-io/guanlan/ui"
)

// doors are the handlers over the store.
type doors struct {
	api.Doors
}

func openDoors(st storeextension.Store, state *state, log *slog.Logger) (*doors, error) {
	d := &doors{}
	d.UI = ui.Handler()
	return d, nil
}

func (d *doors) close() {}
