/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker's end of the socketpair to the node helper: the VfsNode of a process that may not open the node.
 */

#include "engine/vfs.h"

typedef struct NodeLink NodeLink;

/* Takes over `fd`. */
int node_link_new(int fd, NodeLink **ret_link);
NodeLink *node_link_free(NodeLink *link);
DEFINE_CLEANUP(NodeLink *, node_link_free)
#define _cleanup_node_link_ _cleanup_(node_link_freep)

/* Valid while the link lives; its functions may be called from any thread. Once the helper is gone every
 * request fails with -EIO, and the drive counts as gone. */
const VfsNode *node_link_vfs(const NodeLink *link);
