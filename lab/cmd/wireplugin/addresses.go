package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/docker/go-plugins-helpers/ipam"
)

// addresses gives out addresses of IPv4, and keeps in a file which.
type addresses struct {
	file string

	mu    sync.Mutex // guards what follows
	pools map[string]*pool
}

// pool is a subnet that was given.
type pool struct {
	References int
	Taken      map[netip.Addr]bool
}

func open(file string) (*addresses, error) {
	a := &addresses{file: file, pools: map[string]*pool{}}
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	return a, json.Unmarshal(raw, &a.pools)
}

// save writes the file. The caller has the lock.
func (a *addresses) save() error {
	raw, err := json.Marshal(a.pools)
	if err != nil {
		return err
	}
	return os.WriteFile(a.file, raw, 0o600)
}

// GetCapabilities implements ipam.Ipam.
func (a *addresses) GetCapabilities() (*ipam.CapabilitiesResponse, error) {
	return &ipam.CapabilitiesResponse{RequiresMACAddress: true}, nil
}

// GetDefaultAddressSpaces implements ipam.Ipam.
func (a *addresses) GetDefaultAddressSpaces() (*ipam.AddressSpacesResponse, error) {
	return &ipam.AddressSpacesResponse{LocalDefaultAddressSpace: "wires", GlobalDefaultAddressSpace: "wires"}, nil
}

// RequestPool implements ipam.Ipam.
func (a *addresses) RequestPool(r *ipam.RequestPoolRequest) (*ipam.RequestPoolResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.V6 || r.SubPool != "" {
		return nil, errors.New("only whole subnets of IPv4 are given")
	}
	id := r.Pool
	for n := 0; id == "" && n < 256; n++ {
		if free := fmt.Sprintf("10.240.%d.0/24", n); a.pools[free] == nil {
			id = free
		}
	}
	subnet, err := netip.ParsePrefix(id)
	if err != nil {
		return nil, err
	}
	id = subnet.Masked().String()
	if a.pools[id] == nil {
		a.pools[id] = &pool{Taken: map[netip.Addr]bool{}}
	}
	a.pools[id].References++
	return &ipam.RequestPoolResponse{PoolID: id, Pool: id}, a.save()
}

// ReleasePool implements ipam.Ipam.
func (a *addresses) ReleasePool(r *ipam.ReleasePoolRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pools[r.PoolID]
	if p == nil {
		return fmt.Errorf("pool %q was not given", r.PoolID)
	}
	if p.References--; p.References == 0 {
		delete(a.pools, r.PoolID)
	}
	return a.save()
}

// RequestAddress implements ipam.Ipam.
func (a *addresses) RequestAddress(r *ipam.RequestAddressRequest) (*ipam.RequestAddressResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pools[r.PoolID]
	if p == nil {
		return nil, fmt.Errorf("pool %q was not given", r.PoolID)
	}
	subnet, err := netip.ParsePrefix(r.PoolID)
	if err != nil {
		return nil, err
	}
	free := subnet.Addr().Next()
	if r.Address != "" {
		if free, err = netip.ParseAddr(r.Address); err != nil {
			return nil, err
		}
		if p.Taken[free] {
			return nil, fmt.Errorf("address %s is taken", free)
		}
	}
	for p.Taken[free] {
		free = free.Next()
	}
	if !subnet.Contains(free) {
		return nil, fmt.Errorf("address %s is not of %s, or none is free", free, subnet)
	}
	p.Taken[free] = true
	return &ipam.RequestAddressResponse{Address: netip.PrefixFrom(free, subnet.Bits()).String()}, a.save()
}

// ReleaseAddress implements ipam.Ipam.
func (a *addresses) ReleaseAddress(r *ipam.ReleaseAddressRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr, err := netip.ParseAddr(r.Address)
	if p := a.pools[r.PoolID]; err != nil || p == nil || !p.Taken[addr] {
		return fmt.Errorf("address %q of %q was not given", r.Address, r.PoolID)
	}
	delete(a.pools[r.PoolID].Taken, addr)
	return a.save()
}
