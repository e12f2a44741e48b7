// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @title Verifies proofs of a Mainstem main chain, in binary form (docs/protocol.md, section "Proofs").
/// @notice A proof that is not right reverts, with an error that names the field. What a proof proves holds for whoever trusts the
/// hash of the header that it ends in (`trusted.hash`): comparing that with a hash that is trusted is the caller's part, see
/// `requireTrusted` and MainstemHeaders.
/// @dev Works on calldata where it lies: pointers `pos` and `end` are absolute calldata offsets. Integers are little-endian.
library MainstemVerifier {
    /// A block of a side chain.
    struct SideBlock {
        uint32 chainId;
        uint64 height;
        bytes32 hash;
        /// What the side chain's transaction proofs end in: of an EVM chain the receipts root.
        bytes32 txRoot;
    }

    /// What is needed of a main header.
    struct Header {
        uint32 chainId;
        uint64 height;
        bytes32 hash;
        bytes32 sideRoot;
        bytes32 historyRoot;
    }

    /// What a block proof proves: that `block_` is indexed under `header`, if `trusted` is trusted.
    struct BlockProof {
        SideBlock block_;
        Header header;
        /// The later header that the proof ends in, or `header`.
        Header trusted;
    }

    /// What a transaction proof proves.
    struct CrossChainProof {
        /// The side blocks that lead to the transaction: the first is one of the main chain's side chains; each further one a side
        /// block of the Mainstem that the one before is a block of. The transaction is in the last one.
        SideBlock[] blocks;
        /// Of `blocks[0]`.
        Header header;
        /// The header that the proof ends in.
        Header trusted;
        /// AELF, EVM or SIM; BLOCK if the last block alone is proven.
        uint8 kind;
        /// AELF: id of a transaction that was mined.
        bytes32 id;
        /// EVM: position in the block.
        uint32 index;
        /// EVM: the transaction and the receipt (EIP-2718), as far as they are proven; of no length if not.
        Slice transaction;
        Slice receipt;
        /// SIM: the transaction.
        Slice data;
    }

    /// A part of the proof: `proof[start:start + length]`.
    struct Slice {
        uint256 start;
        uint256 length;
    }

    /// A log of an EVM receipt.
    struct Log {
        address emitter;
        bytes32[] topics;
        bytes data;
    }

    uint8 internal constant BLOCK = 0;
    uint8 internal constant AELF = 1;
    uint8 internal constant EVM = 2;
    uint8 internal constant SIM = 3;
    uint8 internal constant MAINSTEM = 4;

    /// The proof is cut off, or goes on after its end.
    error WrongLength(uint256 length, uint256 expected);
    /// A field has a value that it cannot have.
    error WrongValue(bytes32 field, uint256 got);
    /// A path or a hash leads elsewhere.
    error WrongHash(bytes32 field, bytes32 got, bytes32 expected);
    /// The RLP of an EVM header, a node of a trie or a receipt is not right.
    error WrongRlp(bytes32 what);
    /// The proof is right in itself and ends in a header that is not trusted.
    error NotTrusted(bytes32 got);

    uint256 private constant HEADER_BYTES = 226;
    uint256 private constant MAX_LEVELS = 8;
    uint256 private constant MAX_STEPS = 32;

    /// @notice Verifies a block proof.
    function verifyBlock(bytes calldata proof) internal view returns (BlockProof memory proven) {
        (uint256 pos, uint256 end) = bounds(proof);
        uint256 next;
        (proven, next) = blockProof(pos, end);
        if (next != end) revert WrongLength(proof.length, next - pos);
    }

    /// @notice Verifies a transaction proof.
    function verifyTransaction(bytes calldata proof) internal view returns (CrossChainProof memory proven) {
        (uint256 pos, uint256 end) = bounds(proof);
        uint256 next = transactionProof(pos, end, 0, proven);
        if (next != end) revert WrongLength(proof.length, next - pos);
        // They were found as offsets in calldata.
        if (proven.transaction.length > 0) proven.transaction.start -= pos;
        if (proven.receipt.length > 0) proven.receipt.start -= pos;
        if (proven.kind == SIM) proven.data.start -= pos;
    }

    /// @notice Verifies a consistency proof: `to` has all of the history of `from`, and `from` itself, in its own.
    /// @dev It says nothing of who made `to`: anyone can make a header that continues another.
    function verifyConsistency(bytes calldata proof) internal view returns (Header memory from, Header memory to) {
        (uint256 pos, uint256 end) = bounds(proof);
        uint256 next = pos + 2 + 2 * HEADER_BYTES;
        need(pos, next - pos, end);
        if (u16(pos) != 0x0301) revert WrongValue("kind", u16(pos));
        from = readHeader(pos + 2);
        to = readHeader(pos + 2 + HEADER_BYTES);
        if (from.chainId != to.chainId) revert WrongValue("to.chain_id", to.chainId);
        if (to.height < from.height) revert WrongValue("to.height", to.height);
        (uint256 m, uint256 n) = (from.height - 1, to.height - 1);
        if (m == n) {
            same("to", to.hash, from.hash);
        } else {
            next = foldConsistency(m, n, from.historyRoot, to.historyRoot, next, end);
            bytes32 root;
            (root, next) = climb(historyLeaf(from), m, n, next, end);
            same("inclusion", root, to.historyRoot);
        }
        if (next != end) revert WrongLength(proof.length, next - pos);
    }

    /// @notice Reverts unless `hash` is that of the header that the proof ends in.
    function requireTrusted(Header memory trusted, bytes32 hash) internal pure {
        if (trusted.hash != hash) revert NotTrusted(trusted.hash);
    }

    /// @notice The bytes of a main header, checked.
    function readHeader(bytes calldata header) internal view returns (Header memory) {
        if (header.length != HEADER_BYTES) revert WrongLength(header.length, HEADER_BYTES);
        (uint256 pos,) = bounds(header);
        return readHeader(pos);
    }

    /// @notice A part of `proof` that was proven.
    function slice(bytes calldata proof, Slice memory part) internal pure returns (bytes calldata) {
        return proof[part.start:part.start + part.length];
    }

    /// @notice Reads a receipt that was proven: whether the transaction succeeded, and the log at `index` among its own.
    /// @dev Of receipts since Byzantium.
    function readReceipt(bytes calldata receipt, uint256 index) internal pure returns (bool success, Log memory log) {
        (uint256 pos, uint256 end) = bounds(receipt);
        // A type stands before the list (EIP-2718).
        if (pos < end && u8(pos) < 0x80) ++pos;
        pos = openList(pos, end);
        (uint256 item, uint256 length, uint256 next) = text(pos, end);
        if (length > 1 || (length == 1 && u8(item) != 1)) revert WrongRlp("receipt status");
        success = length == 1;
        (,, next) = text(next, end); // gas used
        (,, next) = text(next, end); // bloom
        pos = openList(next, end);
        for (; index > 0; --index) {
            (,,, pos) = rlp(pos, end);
        }
        bool list;
        (list, pos,, next) = rlp(pos, end);
        if (!list) revert WrongRlp("log");
        (item, length, pos) = text(pos, next);
        if (length != 20) revert WrongRlp("log address");
        log.emitter = address(uint160(word(item) >> 96));
        uint256 topics;
        (list, topics, length, pos) = rlp(pos, next);
        if (!list || length % 33 != 0) revert WrongRlp("log topics");
        log.topics = new bytes32[](length / 33);
        for (uint256 i = 0; i < log.topics.length; ++i) {
            (item, length, topics) = text(topics, next);
            if (length != 32) revert WrongRlp("log topics");
            log.topics[i] = bytes32(word(item));
        }
        (item, length, pos) = text(pos, next);
        if (pos != next) revert WrongRlp("log");
        log.data = copy(item, length);
    }

    // Block proofs.

    function blockProof(uint256 pos, uint256 end) private view returns (BlockProof memory proven, uint256 next) {
        need(pos, 321, end);
        if (u16(pos) != 0x0001) revert WrongValue("version", u16(pos));
        SideBlock memory sideBlock = proven.block_;
        sideBlock.chainId = u32(pos + 2);
        sideBlock.height = height("block.height", pos + 6);
        sideBlock.hash = bytes32(word(pos + 14));
        sideBlock.txRoot = bytes32(word(pos + 46));
        proven.header = readHeader(pos + 94);
        uint256 flag = u8(pos + 320);
        if (flag > 1) revert WrongValue("head flag", flag);
        next = pos + 321 + flag * HEADER_BYTES;
        need(pos, next - pos, end);

        next = sidePart(pos, next, end, proven);
        proven.trusted = proven.header;
        if (flag == 1) {
            Header memory head = readHeader(pos + 321);
            Header memory header = proven.header;
            if (head.chainId != header.chainId) revert WrongValue("head.chain_id", head.chainId);
            if (head.height <= header.height) revert WrongValue("head.height", head.height);
            bytes32 root;
            (root, next) = climb(historyLeaf(header), header.height - 1, head.height - 1, next, end);
            same("history_path", root, head.historyRoot);
            proven.trusted = head;
        }
    }

    /// From the side block to the header's side root. Gives the end of both paths, which start at `path`.
    function sidePart(uint256 pos, uint256 path, uint256 end, BlockProof memory proven) private view returns (uint256) {
        uint256 index = proven.block_.height;
        uint256 count = u32(pos + 86);
        {
            uint256 first = height("chain.first_height", pos + 78);
            if (index < first || index - first >= count) revert WrongValue("block.height", index);
            index -= first;
        }
        bytes32 hash;
        // H(0x01 || chain_id || height || hash || tx_root): the proof's own bytes, in this order.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x01)
            calldatacopy(add(free, 1), add(pos, 2), 76)
            if iszero(staticcall(gas(), 2, free, 77, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
        (hash, path) = climb(hash, index, count, path, end);
        // H(0x02 || chain_id || first_height || count || chain_root).
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x02)
            calldatacopy(add(free, 1), add(pos, 2), 4)
            calldatacopy(add(free, 5), add(pos, 78), 12)
            mstore(add(free, 17), hash)
            if iszero(staticcall(gas(), 2, free, 49, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
        index = u32(pos + 90);
        count = u32(pos + 94 + 86);
        if (index >= count) revert WrongValue("chain.index", index);
        (hash, path) = climb(hash, index, count, path, end);
        same("side_path", hash, proven.header.sideRoot);
        return path;
    }

    function readHeader(uint256 pos) private view returns (Header memory header) {
        if (u16(pos) != 1) revert WrongValue("header.version", u16(pos));
        header.chainId = u32(pos + 2);
        header.height = height("header.height", pos + 6);
        header.sideRoot = bytes32(word(pos + 54));
        header.historyRoot = bytes32(word(pos + 162));
        bytes32 hash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x03)
            calldatacopy(add(free, 1), pos, 226)
            if iszero(staticcall(gas(), 2, free, 227, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
        header.hash = hash;
    }

    /// H(0x04 || height || header hash).
    function historyLeaf(Header memory header) private view returns (bytes32 hash) {
        uint256 le = reverse64(header.height);
        bytes32 own = header.hash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x04)
            mstore(add(free, 1), shl(192, le))
            mstore(add(free, 9), own)
            if iszero(staticcall(gas(), 2, free, 41, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// The root that the siblings at `path` lead to from leaf `index`, which is below `size`, and where they end. Index and size decide
    /// how many there are, and on which side they stand.
    function climb(bytes32 leaf, uint256 index, uint256 size, uint256 path, uint256 end)
        private
        view
        returns (bytes32 root, uint256 next)
    {
        (root, next) = (leaf, path);
        unchecked {
            for (; size > 1; size = (size + 1) >> 1) {
                if (index ^ 1 < size) {
                    need(next, 32, end);
                    bytes32 sibling = bytes32(word(next));
                    next += 32;
                    root = index & 1 == 1 ? node(sibling, root) : node(root, sibling);
                }
                index >>= 1;
            }
        }
    }

    /// RFC 9162, section 2.1.4: that the tree of `m` leaves begins that of `n`, m < n. The proof climbs from the last whole subtree of
    /// the smaller tree, which it gives unless that is the tree itself.
    function foldConsistency(uint256 m, uint256 n, bytes32 rootM, bytes32 rootN, uint256 next, uint256 end)
        private
        view
        returns (uint256)
    {
        if (m == 0) {
            same("from.history_root", rootM, 0);
            return next;
        }
        bytes32 small = rootM;
        unchecked {
            for (; m & 1 == 0; m >>= 1) {
                n = (n + 1) >> 1;
            }
            m -= 1;
            if (m > 0) {
                need(next, 32, end);
                small = bytes32(word(next));
                next += 32;
            }
            bytes32 large = small;
            for (; n > 1; n = (n + 1) >> 1) {
                if (m ^ 1 < n) {
                    need(next, 32, end);
                    bytes32 sibling = bytes32(word(next));
                    next += 32;
                    if (m & 1 == 1) {
                        small = node(sibling, small);
                        large = node(sibling, large);
                    } else {
                        large = node(large, sibling);
                    }
                }
                m >>= 1;
            }
            same("consistency", large, rootN);
        }
        same("consistency", small, rootM);
        return next;
    }

    // Transaction proofs.

    /// What a transaction part leads to; the block proof, which comes behind it, must have the same.
    struct Lead {
        bytes32 txRoot;
        /// Whether `hash` and `height` are known too, and `chainId`.
        bool ofBlock;
        bool ofChain;
        bytes32 hash;
        uint64 height;
        uint32 chainId;
    }

    function transactionProof(uint256 pos, uint256 end, uint256 level, CrossChainProof memory proven)
        private
        view
        returns (uint256 next)
    {
        need(pos, 3, end);
        if (u16(pos) != 0x0101) revert WrongValue("kind", u16(pos));
        uint256 kind = u8(pos + 2);
        Lead memory lead;
        if (kind == MAINSTEM) {
            next = nested(pos + 3, end, level, lead, proven);
        } else {
            proven.kind = uint8(kind);
            proven.blocks = new SideBlock[](level + 1);
            if (kind == AELF) next = aelfPart(pos + 3, end, lead, proven);
            else if (kind == EVM) next = evmPart(pos + 3, end, lead, proven);
            else if (kind == SIM) next = simPart(pos + 3, end, lead, proven);
            else revert WrongValue("transaction.type", kind);
        }

        BlockProof memory under;
        (under, next) = blockProof(next, end);
        SideBlock memory sideBlock = under.block_;
        same("block.tx_root", lead.txRoot, sideBlock.txRoot);
        if (lead.ofBlock) {
            same("block.hash", lead.hash, sideBlock.hash);
            if (lead.height != sideBlock.height) revert WrongValue("block.height", sideBlock.height);
        }
        if (lead.ofChain && lead.chainId != sideBlock.chainId) revert WrongValue("chain_id", sideBlock.chainId);
        proven.blocks[level] = sideBlock;
        proven.header = under.header;
        proven.trusted = under.trusted;
    }

    /// A proof of a main chain that is a side chain of this one.
    function nested(uint256 pos, uint256 end, uint256 level, Lead memory lead, CrossChainProof memory proven)
        private
        view
        returns (uint256 next)
    {
        if (level >= MAX_LEVELS) revert WrongValue("levels", level + 1);
        need(pos, 2, end);
        Header memory newest;
        if (u16(pos) == 0x0001) {
            BlockProof memory inner;
            (inner, next) = blockProof(pos, end);
            proven.blocks = new SideBlock[](level + 2);
            proven.blocks[level + 1] = inner.block_;
            newest = inner.trusted;
        } else {
            next = transactionProof(pos, end, level + 1, proven);
            newest = proven.trusted;
        }
        lead.txRoot = newest.sideRoot;
        (lead.ofBlock, lead.hash, lead.height) = (true, newest.hash, newest.height);
        (lead.ofChain, lead.chainId) = (true, newest.chainId);
    }

    function aelfPart(uint256 pos, uint256 end, Lead memory lead, CrossChainProof memory proven)
        private
        view
        returns (uint256 next)
    {
        need(pos, 32, end);
        proven.id = bytes32(word(pos));
        (lead.txRoot, next) = freePath(sha256(bytes.concat(proven.id, "Mined")), true, pos + 32, end);
    }

    function simPart(uint256 pos, uint256 end, Lead memory lead, CrossChainProof memory proven)
        private
        view
        returns (uint256 next)
    {
        need(pos, 4, end);
        uint256 length = u32(pos);
        // Data of 63 bytes would make a leaf as long as a node.
        if (length == 63 || length > 1 << 20) revert WrongValue("data", length);
        need(pos, 4 + length, end);
        proven.data = Slice(pos + 4, length);
        bytes32 leaf = sha256(bytes.concat(hex"10", copy(pos + 4, length)));
        (lead.txRoot, next) = freePath(leaf, false, pos + 4 + length, end);
    }

    /// A path that says on which side siblings stand. In AElf's tree, one equal to the running hash completes an odd row: it stands on
    /// the right.
    function freePath(bytes32 leaf, bool aelf, uint256 pos, uint256 end)
        private
        view
        returns (bytes32 root, uint256 next)
    {
        need(pos, 5, end);
        uint256 steps = u8(pos);
        uint256 sides = u32(pos + 1);
        if (steps > MAX_STEPS) revert WrongValue("path", steps);
        if (sides >> steps != 0) revert WrongValue("path sides", sides);
        need(pos, 5 + 32 * steps, end);
        (root, next) = (leaf, pos + 5);
        for (; steps > 0; --steps) {
            bytes32 sibling = bytes32(word(next));
            if (sides & 1 == 1) {
                if (aelf && sibling == root) revert WrongHash("path", sibling, root);
                root = node(sibling, root);
            } else {
                root = node(root, sibling);
            }
            sides >>= 1;
            next += 32;
        }
    }

    // EVM.

    function evmPart(uint256 pos, uint256 end, Lead memory lead, CrossChainProof memory proven)
        private
        pure
        returns (uint256 next)
    {
        need(pos, 2, end);
        uint256 length = u16(pos);
        if (length > 4096) revert WrongValue("header", length);
        next = pos + 2 + length;
        need(pos, length + 7, end);
        lead.ofBlock = true;
        lead.hash = keccak(pos + 2, length);
        bytes32 transactionsRoot = evmHeader(pos + 2, next, lead);
        proven.index = u32(next);
        uint256 flags = u8(next + 4);
        if (flags == 0 || flags > 3) revert WrongValue("flags", flags);
        next += 5;
        if (flags & 1 == 1) {
            (proven.transaction, next) = walk("transaction", transactionsRoot, proven.index, next, end);
        }
        if (flags & 2 == 2) {
            (proven.receipt, next) = walk("receipt", lead.txRoot, proven.index, next, end);
        }
    }

    /// Bytes of the first fifteen fields of a header, which all forks have, from the last to the first, two bytes each; 0xffff: any.
    uint256 private constant FIELDS = 0x0008_0020_ffff_ffff_ffff_ffff_ffff_ffff_0100_0020_0020_0020_0014_0020_0020;

    function evmHeader(uint256 pos, uint256 end, Lead memory lead) private pure returns (bytes32 transactionsRoot) {
        pos = openList(pos, end);
        for (uint256 field = 0; field < 15; ++field) {
            uint256 item;
            uint256 length;
            (item, length, pos) = text(pos, end);
            uint256 expected = (FIELDS >> (16 * field)) & 0xffff;
            if (expected != 0xffff && length != expected) revert WrongRlp("header");
            if (field == 4) transactionsRoot = bytes32(word(item));
            if (field == 5) lead.txRoot = bytes32(word(item));
            if (field == 8) {
                if (length > 8 || (length > 0 && u8(item) == 0)) revert WrongRlp("header number");
                lead.height = length == 0 ? 0 : uint64(word(item) >> (256 - 8 * length));
            }
        }
        while (pos < end) {
            (,,, pos) = rlp(pos, end);
        }
    }

    /// The value at `index` in the Merkle-Patricia trie under `root`. Each of the nodes at `pos` is used, and none is left over.
    function walk(bytes32 field, bytes32 root, uint256 index, uint256 pos, uint256 end)
        private
        pure
        returns (Slice memory value, uint256 next)
    {
        need(pos, 1, end);
        uint256 nodes = u8(pos);
        if (nodes == 0 || nodes > 32) revert WrongValue(field, nodes);
        next = pos + 1;
        uint256 nibbles;
        (index, nibbles) = keyOf(index);
        // What leads on: 32 bytes are the hash of the next node, fewer are that node itself.
        uint256 length = 32;
        while (true) {
            if (length == 32) {
                if (nodes == 0) revert WrongRlp(field);
                --nodes;
                need(next, 4, end);
                length = u32(next);
                need(next, 4 + length, end);
                pos = next + 4;
                next = pos + length;
                same(field, keccak(pos, length), root);
            }
            bool leaf;
            (leaf, nibbles, pos, length) = below(field, pos, pos + length, index, nibbles);
            if (leaf) {
                if (nibbles != 0 || nodes != 0) revert WrongRlp(field);
                return (Slice(pos, length), next);
            }
            if (length == 32) {
                root = bytes32(word(pos));
                // What is shorter than a hash stands in its parent.
                if (nodes > 0 && u32(next) < 32) revert WrongRlp(field);
            }
        }
    }

    /// What is below a node, for a key of which so many nibbles are left: the value of a leaf, the hash of a child, or a child of less than
    /// 32 bytes, which stands in its parent.
    function below(bytes32 field, uint256 pos, uint256 end, uint256 key, uint256 nibbles)
        private
        pure
        returns (bool leaf, uint256 left, uint256 start, uint256 length)
    {
        {
            (uint256 items, uint256 first, uint256 found, bool children) =
                split(pos, end, nibbles == 0 ? 16 : (key >> (4 * (nibbles - 1))) & 15);
            if (items == 17) {
                if (nibbles == 0 || !children) revert WrongRlp(field);
                (left, start) = (nibbles - 1, found);
            } else {
                if (items != 2) revert WrongRlp(field);
                (leaf, left) = prefix(field, first, end, key, nibbles);
                (,, start) = text(first, end);
            }
        }
        (bool list, uint256 payload, uint256 size, uint256 next) = rlp(start, end);
        if (leaf ? list || size == 0 : list ? next - start > 31 : size != 32) revert WrongRlp(field);
        (start, length) = list ? (start, next - start) : (payload, size);
    }

    /// How many items the list has, where its first one is, and where the one is whose number is asked for; and whether they are the
    /// children of a branch: each nothing, a hash or a list of less than 32 bytes, with nothing behind them.
    function split(uint256 pos, uint256 end, uint256 wanted)
        private
        pure
        returns (uint256 items, uint256 first, uint256 found, bool children)
    {
        pos = openList(pos, end);
        (first, children) = (pos, true);
        for (; pos < end; ++items) {
            if (items == 17) revert WrongRlp("items");
            if (items == wanted) found = pos;
            uint256 head = u8(pos);
            uint256 next;
            if (head == 0x80 || head == 0xa0) {
                // Nothing, or a hash: what most are.
                next = pos + 1 + (head & 0x7f);
                if (next > end) revert WrongRlp("cut off");
                if (items == 16 && head != 0x80) children = false;
            } else {
                bool list;
                (list,,, next) = rlp(pos, end);
                if (items == 16 || !list || next - pos > 31) children = false;
            }
            pos = next;
        }
    }

    /// Reads the hex-prefix of a leaf or an extension, which must begin what is left of the key; gives how much is left behind it.
    function prefix(bytes32 field, uint256 pos, uint256 end, uint256 key, uint256 nibbles)
        private
        pure
        returns (bool leaf, uint256 left)
    {
        uint256 length;
        (pos, length,) = text(pos, end);
        if (length == 0 || length > 6) revert WrongRlp(field);
        uint256 given = word(pos) >> (256 - 8 * length);
        uint256 count = 2 * (length - 1);
        uint256 flags = given >> (4 * (count + 1));
        leaf = flags & 2 == 2;
        if (flags & 1 == 1) ++count;
        else if ((given >> (4 * count)) & 15 != 0) revert WrongRlp(field);
        if (flags > 3 || count > nibbles || (!leaf && count == 0)) revert WrongRlp(field);
        left = nibbles - count;
        uint256 mask = (1 << (4 * count)) - 1;
        if (given & mask != (key >> (4 * left)) & mask) revert WrongRlp(field);
    }

    /// rlp(index), and how many nibbles that is.
    function keyOf(uint256 index) private pure returns (uint256 key, uint256 nibbles) {
        if (index == 0) return (0x80, 2);
        if (index < 0x80) return (index, 2);
        uint256 bytes_ = index < 1 << 8 ? 1 : index < 1 << 16 ? 2 : index < 1 << 24 ? 3 : 4;
        return (((0x80 + bytes_) << (8 * bytes_)) | index, 2 * (bytes_ + 1));
    }

    // RLP. One encoding only: lengths are as short as can be.

    function rlp(uint256 pos, uint256 end)
        private
        pure
        returns (bool list, uint256 payload, uint256 length, uint256 next)
    {
        unchecked {
            if (pos >= end) revert WrongRlp("cut off");
            uint256 first = u8(pos);
            if (first < 0x80) return (false, pos, 1, pos + 1);
            list = first >= 0xc0;
            length = first & (list ? 0x3f : 0x7f);
            payload = pos + 1;
            if (length > 55) {
                uint256 size = length - 55;
                if (size > 4 || payload + size > end) revert WrongRlp("length");
                length = word(payload) >> (256 - 8 * size);
                if (u8(payload) == 0 || length <= 55) revert WrongRlp("length");
                payload += size;
            }
            next = payload + length;
            if (next > end) revert WrongRlp("cut off");
            if (!list && length == 1 && u8(payload) < 0x80) revert WrongRlp("length");
        }
    }

    /// A string.
    function text(uint256 pos, uint256 end) private pure returns (uint256 payload, uint256 length, uint256 next) {
        bool list;
        (list, payload, length, next) = rlp(pos, end);
        if (list) revert WrongRlp("a list");
    }

    /// Where the items of a list start that goes on to `end`.
    function openList(uint256 pos, uint256 end) private pure returns (uint256 payload) {
        bool list;
        uint256 next;
        (list, payload,, next) = rlp(pos, end);
        if (!list || next != end) revert WrongRlp("no list");
    }

    // Calldata and hashes.

    function bounds(bytes calldata data) private pure returns (uint256 pos, uint256 end) {
        assembly {
            pos := data.offset
            end := add(pos, data.length)
        }
    }

    /// That `length` bytes are there. `pos` is within the proof, and `length` below 2^33.
    function need(uint256 pos, uint256 length, uint256 end) private pure {
        unchecked {
            if (pos + length > end) revert WrongLength(end - pos, length);
        }
    }

    function same(bytes32 field, bytes32 got, bytes32 expected) private pure {
        if (got != expected) revert WrongHash(field, got, expected);
    }

    function height(bytes32 field, uint256 pos) private pure returns (uint64 read) {
        read = uint64(reverse64(word(pos) >> 192));
        if (read == 0 || read > uint64(type(int64).max)) revert WrongValue(field, read);
    }

    function word(uint256 pos) private pure returns (uint256 read) {
        assembly {
            read := calldataload(pos)
        }
    }

    function u8(uint256 pos) private pure returns (uint256) {
        return word(pos) >> 248;
    }

    function u16(uint256 pos) private pure returns (uint256) {
        uint256 read = word(pos) >> 240;
        return (read >> 8) | ((read & 0xff) << 8);
    }

    function u32(uint256 pos) private pure returns (uint32) {
        return uint32(reverse64(word(pos) >> 224) >> 32);
    }

    /// The eight bytes in the other order.
    function reverse64(uint256 value) private pure returns (uint256) {
        value = ((value >> 8) & 0x00ff00ff00ff00ff) | ((value & 0x00ff00ff00ff00ff) << 8);
        value = ((value >> 16) & 0x0000ffff0000ffff) | ((value & 0x0000ffff0000ffff) << 16);
        return ((value >> 32) & 0xffffffff) | ((value & 0xffffffff) << 32);
    }

    /// H(left || right).
    function node(bytes32 left, bytes32 right) private view returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, left)
            mstore(0x20, right)
            if iszero(staticcall(gas(), 2, 0, 64, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    function keccak(uint256 pos, uint256 length) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, pos, length)
            hash := keccak256(free, length)
        }
    }

    function copy(uint256 pos, uint256 length) private pure returns (bytes memory out) {
        out = new bytes(length);
        assembly ("memory-safe") {
            calldatacopy(add(out, 32), pos, length)
        }
    }
}
