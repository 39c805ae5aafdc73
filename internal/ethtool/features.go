package ethtool

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// features is the set of their names (ETH_SS_FEATURES); maxFeatures bounds it: netdev_features_t has 64 bits.
	features    = 4
	maxFeatures = 256
	// featuresBlock is how many are in a block of struct ethtool_gfeatures (ETHTOOL_GFEATURES).
	featuresBlock = 32
)

// Features are what a device takes off the kernel's hands now (its active features), by their names in ethtool -k.
func (r *Reader) Features(device string) (map[string]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	active, err := r.features(device)
	if err != nil {
		return nil, fmt.Errorf("read the features of %s: %w", device, err)
	}
	return active, nil
}

func (r *Reader) features(device string) (map[string]bool, error) {
	if r.featureNames == nil { // the kernel's own, the same for all devices
		count, err := r.countOf(device, features)
		if err != nil {
			return nil, err
		}
		if count > maxFeatures {
			return nil, fmt.Errorf("%d features", count)
		}
		if r.featureNames, err = r.strings(device, features, count, 0); err != nil {
			return nil, err
		}
	}
	// struct ethtool_gfeatures: command and number of blocks, then of each what is available, requested, active and never changed.
	const header, words, atActive = 2, 4, 2
	blocks := (len(r.featureNames) + featuresBlock - 1) / featuresBlock
	buffer := make([]uint32, header+blocks*words)
	buffer[0], buffer[1] = unix.ETHTOOL_GFEATURES, uint32(blocks)
	if err := r.ask(device, unsafe.Pointer(&buffer[0])); err != nil {
		return nil, err
	}
	active := make(map[string]bool)
	for i, name := range r.featureNames {
		if buffer[header+i/featuresBlock*words+atActive]>>(i%featuresBlock)&1 != 0 {
			active[name] = true
		}
	}
	return active, nil
}

// strings asks for the names of a set, with room for some more.
func (r *Reader) strings(device string, set uint32, count, spare int) ([]string, error) {
	// struct ethtool_gstrings: command, set and number, then the names.
	const header = 3
	buffer := make([]uint32, header+(count+spare)*nameSize/4)
	copy(buffer, []uint32{unix.ETHTOOL_GSTRINGS, set, uint32(count)})
	if err := r.ask(device, unsafe.Pointer(&buffer[0])); err != nil {
		return nil, err
	}
	if int(buffer[2]) != count {
		return nil, unix.EOPNOTSUPP // it is changing
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&buffer[header])), count*nameSize)
	names := make([]string, count)
	for i := range names {
		names[i] = unix.ByteSliceToString(text[i*nameSize : (i+1)*nameSize])
	}
	return names, nil
}
