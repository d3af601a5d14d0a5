//go:build linux

package kernel

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// maxImages bounds what is remembered of containers; a node runs some hundred.
	maxImages = 2048
	// maxConfig bounds a runtime's file: a pod's annotations may hold some hundred KB.
	maxConfig = 4 << 20
	// imageAgain is how long a container whose files were not there is not looked for:
	// they may be written a moment after its first process.
	imageAgain = 5 * time.Second
)

// ContainerInfo is what a runtime's files say of a container; "" where they do not.
type ContainerInfo struct{ Name, Image string }

// ContainerInfo returns name and image of the container with the id.
func (h *Host) ContainerInfo(id string) ContainerInfo { return h.images.of(id, time.Now()) }

// images finds name and image of containers in the files of the runtimes that
// this process may read: Docker, containerd, CRI-O, Podman. No socket is asked.
type images struct {
	root string // of the host's file system
	mu   sync.Mutex
	byID map[string]knownImage
}

type knownImage struct {
	ContainerInfo
	again time.Time // zero: found
}

func newImages(root string) *images { return &images{root: root, byID: map[string]knownImage{}} }

func (m *images) of(id string, now time.Time) ContainerInfo {
	if id == "" {
		return ContainerInfo{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.byID[id]; ok && (k.again.IsZero() || now.Before(k.again)) {
		return k.ContainerInfo
	}
	k := knownImage{ContainerInfo: m.find(id)}
	if k.Image == "" {
		k.again = now.Add(imageAgain)
	}
	if len(m.byID) >= maxImages {
		clear(m.byID)
	}
	m.byID[id] = k
	return k.ContainerInfo
}

func (m *images) find(id string) ContainerInfo {
	if c := dockerConfig(m.read("/var/lib/docker/containers/" + id + "/config.v2.json")); c.Image != "" {
		return c
	}
	for _, pattern := range []string{
		"/run/containerd/io.containerd.runtime.v2.task/*/" + id + "/config.json",
		"/run/k3s/containerd/io.containerd.runtime.v2.task/*/" + id + "/config.json",
		"/run/containers/storage/overlay-containers/" + id + "/userdata/config.json",
		"/var/lib/containers/storage/overlay-containers/" + id + "/userdata/config.json",
	} {
		names, _ := filepath.Glob(filepath.Join(m.root, pattern))
		for _, name := range names {
			if c := bundleConfig(readSome(name, maxConfig)); c.Image != "" {
				return c
			}
		}
	}
	return podmanList(m.read("/var/lib/containers/storage/overlay-containers/containers.json"), id)
}

func (m *images) read(name string) []byte { return readSome(filepath.Join(m.root, name), maxConfig) }

func dockerConfig(b []byte) ContainerInfo {
	var c struct {
		Name   string
		Config struct{ Image string }
	}
	if json.Unmarshal(b, &c) != nil {
		return ContainerInfo{}
	}
	return ContainerInfo{strings.TrimPrefix(c.Name, "/"), c.Config.Image}
}

// bundleConfig reads an OCI bundle's annotations as containerd's and CRI-O's CRI write them.
func bundleConfig(b []byte) ContainerInfo {
	var c struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(b, &c) != nil {
		return ContainerInfo{}
	}
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := c.Annotations[k]; v != "" {
				return v
			}
		}
		return ""
	}
	return ContainerInfo{
		Name:  first("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"),
		Image: first("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.UserRequestedImage", "nerdctl/image"),
	}
}

// podmanList reads the list of containers/storage, whose metadata is JSON in a string.
func podmanList(b []byte, id string) ContainerInfo {
	var list []struct{ ID, Metadata string }
	if json.Unmarshal(b, &list) != nil {
		return ContainerInfo{}
	}
	for _, c := range list {
		if c.ID != id {
			continue
		}
		var m struct {
			Image string `json:"image-name"`
			Name  string `json:"name"`
		}
		if json.Unmarshal([]byte(c.Metadata), &m) == nil {
			return ContainerInfo{m.Name, m.Image}
		}
	}
	return ContainerInfo{}
}
